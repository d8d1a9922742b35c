#!/bin/sh
# Install Debian packages on top of a root filesystem; write the difference as an OCI layer.
# Usage: unshare --mount install-layer.sh WORK PACKAGE...
# WORK contains base (root filesystem) and apt (package lists and archives); it gets layer.tar.
# The script needs its own mount namespace: then no mount remains, even after SIGKILL.
set -eu
work=$1
shift
mount --make-rprivate /
rm -rf "$work/upper" "$work/overlay" "$work/root"
mkdir -p "$work/upper" "$work/overlay" "$work/root" "$work/apt/lists" "$work/apt/archives"
# With redirect_dir or metacopy, the layer would contain marks of overlayfs instead of files.
mount -t overlay overlay -o "redirect_dir=off,metacopy=off,index=off,lowerdir=$work/base,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
mount --bind "$work/apt/lists" "$work/root/var/lib/apt/lists"
mount --bind "$work/apt/archives" "$work/root/var/cache/apt"
mount -t proc proc "$work/root/proc"
: >"$work/root/etc/resolv.conf"
mount --bind /etc/resolv.conf "$work/root/etc/resolv.conf"
# Do not create PostgreSQL's default cluster: it takes long, and every container makes its own.
mkdir -p "$work/root/etc/postgresql-common"
echo 'create_main_cluster = false' >"$work/root/etc/postgresql-common/createcluster.conf"

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
[ -e "$work/apt/updated" ] || chroot "$work/root" apt-get -qq update
touch "$work/apt/updated"
chroot "$work/root" apt-get -qq install --yes --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@"

umount "$work/root/etc/resolv.conf" "$work/root/proc" "$work/root/var/cache/apt" "$work/root/var/lib/apt/lists"
umount "$work/root"
# overlayfs marks a removed file with a character device 0:0, OCI with an empty file with a prefix.
find "$work/upper" -type c | while read -r removed; do
	rm "$removed"
	: >"$(dirname "$removed")/.wh.$(basename "$removed")"
done
tar --create --numeric-owner --sort=name --file "$work/layer.tar" --directory "$work/upper" .
