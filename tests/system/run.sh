#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Debian package under a real systemd: boots Debian bookworm in an emulated machine (QEMU without
# KVM), once for each kernel below, where guest.sh installs the package, watches a server that leaks,
# and does to the service what administrators and accidents do.
#
# usage: run.sh [SERIES...]   kernels to boot (default 6.1 6.12: before and since uprobe multi links)
#
# A container would not do: the daemon wants the host's process ids. The guest's root file system and
# the kernels stay in build/system and build/matrix; consoles are in build/system/*.log. The last line
# is the sum.
set -euo pipefail
cd "$(dirname "$0")/../.."

default_series="6.1 6.12"
guest_packages=systemd,systemd-sysv,procps,python3.11,bpftool
guest_seconds=600
guest_megabytes=2048

cache=$PWD/build/matrix
system=$PWD/build/system
mkdir -p "$cache" "$system"
# shellcheck source=tests/matrix/kernels.sh
. tests/matrix/kernels.sh
make_work "$system"

the_package() {
	local packages=(build/deb/srtleak_*_amd64.deb)
	[ -e "${packages[0]}" ] || { echo "system: no package in build/deb, see make deb" >&2; exit 1; }
	echo "${packages[0]}"
}

# The names in its Depends, the first of each alternative, that are not the guest's anyway.
dependencies() {
	dpkg-deb -f "$1" Depends | tr ',' '\n' | sed 's/|.*//; s/(.*//; s/ //g' | paste -sd,
}

# Debian's minimal system, made anew when what is to be in it changes.
make_base() {
	local wanted sources=() label uri
	wanted=$guest_packages,$(dependencies "$1")
	[ "$(cat "$system/base.packages" 2>/dev/null)" = "$wanted" ] && [ -s "$system/base.cpio" ] && return
	while read -r label uri; do
		case $label in
		Debian) sources+=("deb $uri bookworm main") ;;
		Debian-Security) sources+=("deb $uri bookworm-security main") ;;
		esac
	done <"$work/mirrors"
	echo "system: making the guest's file system"
	# shellcheck disable=SC2016 # expanded by its hook's shell
	mmdebstrap --quiet --variant=minbase --include="$wanted" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/srtleak/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='Acquire::Languages "none"' \
		--customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' \
		bookworm "$work/base" "${sources[@]}"
	(cd "$work/base" && find . | cpio -o -H newc -R 0:0 --quiet) >"$system/base.cpio"
	rm -rf "$work/base"
	echo "$wanted" >"$system/base.packages"
}

# The same package as a later version, to upgrade to.
make_next() { # PACKAGE
	dpkg-deb -R "$1" "$work/next"
	sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$work/next" "$work/root/test/next.deb" >/dev/null
}

# What is laid over the minimal system: the test and what it needs.
make_overlay() { # PACKAGE
	local root=$work/root units=$work/root/etc/systemd/system
	install -D -m 644 "$1" "$root/test/first.deb"
	make_next "$1"
	install -m 755 tests/system/guest.sh build/workloads/leak "$root/test"
	install -m 644 tests/workloads/server.py "$root/test"
	install -D -m 644 -t "$root/test/sim" build/simcuda/*.so.*
	install -D -m 644 tests/system/guest.service "$units/guest.service"
	mkdir "$units/multi-user.target.wants"
	ln -s ../guest.service "$units/multi-user.target.wants/"
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work/overlay.cpio"
	cat "$system/base.cpio" "$work/overlay.cpio" >"$work/initramfs"
}

boot() { # IMAGE LOG
	timeout "$guest_seconds" qemu-system-x86_64 -machine q35 -accel tcg -cpu max \
		-m $guest_megabytes -smp 1 -no-reboot -nodefaults -nographic -serial stdio -monitor none \
		-kernel "$1" -initrd "$work/initramfs" \
		-append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off tsc=reliable \
rdinit=/lib/systemd/systemd systemd.show_status=0 systemd.getty_auto=0" \
		</dev/null 2>&1 | tr -d '\r' >"$2"
}

judge() { # IMAGE LOG
	local good bad
	echo "== Linux ${1##*/vmlinuz-}"
	sed -n 's/^SYSTEM //p' "$2"
	good=$(grep -c '^SYSTEM PASS' "$2" || true)
	bad=$(grep -c '^SYSTEM FAIL' "$2" || true)
	if ! grep -q '^SYSTEM end' "$2"; then
		echo "FAIL the guest did not reach its end"
		tail -n 20 "$2"
		bad=$((bad + 1))
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
}

package=$(the_package)
update_lists
make_base "$package"
make_overlay "$package"
# shellcheck disable=SC2086 # a list of words
[ $# -gt 0 ] || set -- $default_series
images=()
for series; do
	images+=("$(fetch "$series")")
done
for image in "${images[@]}"; do
	boot "$image" "$system/${image##*/}.log" &
done
wait
passed=0
failed=0
for image in "${images[@]}"; do
	judge "$image" "$system/${image##*/}.log"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
