#!/bin/sh
# Inside a kernel that contrib/test --kernels booted: ROOT VENV SHARED [PYTEST-ARGUMENT...]
#
# The machine is thrown away afterwards, so here, and only here, the root cgroup is guarded.
set -u
root=$1 venv=$2 shared=$3
shift 3
exec >>"$shared/log" 2>&1 </dev/null
export PATH="$venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LANG=C.UTF-8 HOME=/tmp PYTHONDONTWRITEBYTECODE=1
export DNSFW_REQUIRE=machine,wheel

# Nothing of it changes while we run, so each block need come from the host only once.
grep ' 9p ro' /proc/mounts | while read -r tag directory _; do
	[ "$directory" != / ] || continue
	umount "$directory" &&
		mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose \
			"$tag" "$directory"
done
cd "$root" || exit 1
python -m pytest -p no:cacheprovider "$@"
echo $? >"$shared/status"
sync
