#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing srtleak needs on Debian 12. Says what it installs; does nothing
# when all is there. Further packages can be named as arguments.
set -eu

packages="
	gcc libc6-dev make
	clang libclang-rt-14-dev bpftool libbpf-dev
	libelf-dev zlib1g-dev libsystemd-dev libjansson-dev libmicrohttpd-dev libinih-dev libiberty-dev
	libseccomp-dev
	libncurses-dev tmux
	libcmocka-dev python3 python3-pytest python3-yaml python3.11
	clang-format clang-tidy cppcheck
	prometheus btrfs-progs
	scdoc mandoc debhelper lintian blhc systemd
"

missing=
for package in $packages "$@"; do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	"install ok installed") ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps: need root to install:$missing" >&2
	echo "deps: run \`sudo make deps\` once" >&2
	exit 1
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
export RUNLEVEL=1 # no service is started by being installed (the tests run a Prometheus of their own)
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -qq -y --no-install-recommends $missing >/dev/null
