# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # the scripts that source this use, or set, these
# What quickstart and test share: look at the host, install packages quietly and
# without starting a service, build the wheel in a copy. Source it; $root is the checkout.

EXIT_MISTAKE=2
EXIT_HOST=3
POLICY_RC=/usr/sbin/policy-rc.d
POLICY_RC_SAVED=$POLICY_RC.before-dnsfw
POLICY_RC_MARK='# written by dnsfw: no service starts while its packages are installed'

if [ -t 1 ]; then
	bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
else
	bold='' dim='' plain=''
fi

say() { printf '%s\n' "$*"; }

# What is going on, dimmed: nobody must read it.
step() { printf '%s· %s%s\n' "$dim" "$*" "$plain"; }

fail() { # EXIT-CODE REASON...
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

at_least() { # HAVE WANT: version comparison
	[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]
}

require_root() { # COMMAND
	[ "$(id -u)" = 0 ] || fail $EXIT_MISTAKE "this needs root: sudo $1"
}

# Debian 12+, Ubuntu 24.04+, Linux 6.1+; otherwise exit 3 with the reason.
require_host() {
	ID='' VERSION_ID='' PRETTY_NAME=''
	os=${DNSFW_OS_RELEASE:-/etc/os-release}
	# shellcheck disable=SC1090
	[ -r "$os" ] && . "$os"
	case $ID in
	debian) want=12 ;;
	ubuntu) want=24.04 ;;
	*) fail $EXIT_HOST "this needs Debian 12+ or Ubuntu 24.04+; here is ${PRETTY_NAME:-an unknown system}" ;;
	esac
	# Debian testing has no VERSION_ID: it is newer than any number.
	if [ -n "$VERSION_ID" ] && ! at_least "$VERSION_ID" "$want"; then
		fail $EXIT_HOST "this needs Debian 12+ or Ubuntu 24.04+; here is $PRETTY_NAME"
	fi
	kernel=${DNSFW_KERNEL_RELEASE:-$(uname -r)}
	if ! at_least "$kernel" 6.1; then
		fail $EXIT_HOST "this needs Linux 6.1+; here is $kernel"
	fi
}

missing_packages() { # PACKAGE...: those that are not installed
	for package; do
		status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=''
		[ "$status" = installed ] || printf '%s ' "$package"
	done
}

# Puts back whatever decided about service starts before us, after a killed run too.
allow_services() {
	if [ -e $POLICY_RC_SAVED ]; then
		mv -f $POLICY_RC_SAVED $POLICY_RC
	elif grep -qsF "$POLICY_RC_MARK" $POLICY_RC; then
		rm -f $POLICY_RC
	fi
}

deny_services() {
	allow_services
	if [ -e $POLICY_RC ]; then mv $POLICY_RC $POLICY_RC_SAVED; fi
	printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_RC_MARK" >$POLICY_RC
	chmod 755 $POLICY_RC
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
		"$@" >>"$log" 2>&1 </dev/null
}

# Installs what is missing of these; no service starts now or at the next boot.
install_packages() { # PACKAGE...
	missing=$(missing_packages "$@")
	[ -n "$missing" ] || return 0
	step "packages: $missing"
	log=$(mktemp)
	trap 'allow_services' EXIT
	trap 'exit 130' INT TERM HUP
	deny_services
	# shellcheck disable=SC2086
	if ! { apt update && apt install --no-install-recommends $missing; }; then
		tail -n 20 "$log" >&2
		fail $EXIT_HOST "apt-get could not install: $missing(the whole log: $log)"
	fi
	allow_services
	trap - EXIT INT TERM HUP
	rm -f "$log"
	for service in unbound nsd; do
		case " $missing " in *" $service "*)
			if command -v deb-systemd-helper >/dev/null; then
				deb-systemd-helper disable $service.service >/dev/null 2>&1 || true
			fi
			;;
		esac
	done
}

# A virtual environment of the distribution's Python, made anew if that has changed.
make_venv() { # DIRECTORY
	if ! "$1/bin/python" -c 'import pip' 2>/dev/null; then
		step "virtual environment: $1"
		rm -rf "$1"
		mkdir -p "$(dirname "$1")"
		/usr/bin/python3 -m venv "$1" || fail $EXIT_HOST "python3 -m venv $1 failed"
	fi
}

pip_install() { # VENV ARGUMENT...
	venv_of_pip=$1
	shift
	piplog=$(mktemp)
	if ! "$venv_of_pip/bin/python" -m pip install --quiet --disable-pip-version-check \
		--no-input "$@" >"$piplog" 2>&1; then
		tail -n 20 "$piplog" >&2
		fail $EXIT_HOST "pip could not install: $* (the whole log: $piplog)"
	fi
	rm -f "$piplog"
}

# Builds the wheel from a copy, so that root writes nothing into the checkout. Sets $wheel.
build_wheel() { # VENV DIRECTORY
	step "wheel, with the BPF object in it"
	copy=$(mktemp -d)
	rm -rf "$2"
	mkdir -p "$2"
	(cd "$root" && cp -R dnsfw kernel policies pyproject.toml README.md LICENSE "$copy")
	find "$copy" -name '__pycache__' -prune -exec rm -rf {} +
	find "$copy" -name '*.o' -delete
	if ! "$1/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-input \
		--no-deps --wheel-dir "$2" "$copy" >"$copy/log" 2>&1; then
		tail -n 40 "$copy/log" >&2
		rm -rf "$copy"
		fail $EXIT_HOST "the wheel could not be built"
	fi
	rm -rf "$copy"
	wheel=$(ls "$2"/dnsfw-*.whl)
}
