# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # contrib/test uses, or sets, these
# Debian's kernels, unpacked beside the machine's own and booted under software emulation
# with the host's files read-only: what contrib/test --kernels needs. Source common.sh first.

KERNEL_CACHE=${DNSFW_KERNEL_CACHE:-/var/cache/dnsfw-kernels}
KERNEL_PACKAGES="qemu-system-x86 busybox-static kmod util-linux iproute2"
KERNEL_PATIENCE=${DNSFW_KERNEL_PATIENCE:-1500} # seconds a guest may take; it takes a third
# The oldest that dnsfw promises, which has no TCX. Others by name: --kernels 6.1 6.12
KERNEL_SERIES="6.1"

# Sets $release to the newest kernel of a series that this machine's package sources offer,
# unpacked; false if there is none.
fetch_kernel() { # SERIES
	package=$(apt-cache show linux-image-amd64 2>/dev/null |
		sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' |
		grep "^linux-image-$1[.]" | sort -V | tail -n1) || package=''
	release=${package#linux-image-}
	[ -n "$release" ] || return 1
	[ ! -e "$KERNEL_CACHE/$release/boot/vmlinuz-$release" ] || return 0
	step "kernel $release: download (about 100 MB)"
	rm -rf "$KERNEL_CACHE"/new
	mkdir -p "$KERNEL_CACHE/new/root"
	(cd "$KERNEL_CACHE/new" && apt-get -qq download "$package") || return 1
	dpkg -x "$KERNEL_CACHE"/new/*.deb "$KERNEL_CACHE/new/root" || return 1
	for old in "$KERNEL_CACHE/$1".*; do rm -rf "$old"; done
	mv "$KERNEL_CACHE/new/root" "$KERNEL_CACHE/$release"
	rm -rf "$KERNEL_CACHE/new"
}

# Boots $release, runs contrib/lib/machine.sh in it and shows what that says. The guest
# sees this machine's files and can write one directory of them, which holds the result.
# What Python reads again and again are file systems of their own, which can be cached.
boot_kernel() { # PYTEST-ARGUMENT...
	shared=$(mktemp -d /tmp/dnsfw-kernel.XXXXXX)
	python_home=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
	directories=''
	for directory in "$KERNEL_CACHE" "$python_home" "$root" "$VENV"; do
		directories="$directories --rodir=$directory"
	done
	{
		printf 'exec sh %s' "$(quoted "$root/contrib/lib/machine.sh")"
		for argument in "$root" "$VENV" "$shared" "$@"; do
			printf ' %s' "$(quoted "$argument")"
		done
	} >"$shared/start"
	: >"$shared/log"
	tail -n +1 -f "$shared/log" &
	tail=$!
	# script: virtme-ng wants a terminal. panic: a dead kernel ends at once (-no-reboot).
	timeout -k 10 "$KERNEL_PATIENCE" script -qec "vng --verbose --disable-kvm --cpus 2 \
		--memory 2G --rwdir=$shared $directories \
		--run $KERNEL_CACHE/$release/boot/vmlinuz-$release \
		--append 'lsm=lockdown,capability,landlock,bpf panic=-1' -- 'sh $shared/start'" \
		"$shared/console" >/dev/null 2>&1 </dev/null || true
	sleep 1 # tail looks once a second
	kill "$tail"
	wait "$tail" 2>/dev/null || true
	status=$(cat "$shared/status" 2>/dev/null || echo none)
	if [ "$status" = none ]; then
		say "Linux $release gave no result; the end of its console:"
		tail -n 20 "$shared/console" >&2
	fi
	rm -rf "$shared"
	[ "$status" = 0 ]
}

quoted() { # TEXT, as one word for a shell
	printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}
