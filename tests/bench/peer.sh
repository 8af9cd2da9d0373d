#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes build/bench/peer: Debian trixie with libbpf-tools, whose memleak is what we are compared with
# (bookworm's package has none). Does nothing where it is there. Root; needs mmdebstrap.
set -eu
cd "$(dirname "$0")/../.."

suite=trixie
root=build/bench/peer
[ -x $root/usr/sbin/memleak-libbpf ] && exit 0

# The mirror that this system is configured to use.
# shellcheck disable=SC2016 # apt expands it
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' | sed -n 's/^Debian //p' | head -n 1)
[ -n "$mirror" ] || { echo "peer: no mirror of Debian is configured" >&2; exit 1; }

echo "peer: making a $suite root file system"
rm -rf $root $root.new
mkdir -p build/bench
# shellcheck disable=SC2016 # its hook's shell expands it
mmdebstrap --quiet --variant=minbase --include=libbpf-tools --aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' \
	$suite $root.new "deb $mirror $suite main"
mv $root.new $root
