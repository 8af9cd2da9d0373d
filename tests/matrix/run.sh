#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the daemon on other kernels: boots each in an emulated machine (QEMU without KVM, a minute for
# all), where init.sh tracks real processes with each kind of link and compares.
#
# usage: run.sh [VMLINUZ...]   kernel images to test too; an image needs nothing built as a module
#
# Debian's own kernels are found by their meta-package at run time and kept in build/matrix. The last
# line is the sum, over kernels and kinds of links; the consoles are in build/matrix/*.log.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Series of kernels; those that must work, and those whose failure is only told.
must="6.1 6.12 7"
may="5.10"
modes="auto multi perf"
python=/usr/bin/python3.11
guest_seconds=300

cache=$PWD/build/matrix
# shellcheck source=tests/matrix/kernels.sh
. tests/matrix/kernels.sh
passed=0
failed=0
skipped=0

mkdir -p "$cache"
make_work "$cache"

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed = 0 ] && exit 0
	exit 1
}

row() { # KERNEL MODE RESULT
	printf '%-30s %-6s %s\n' "$1" "$2" "$3"
}

# What is missing is a reason to skip on a developer's machine; CI has everything.
missing() { # REASON
	if [ -n "${CI-}" ]; then
		row "$1" - "FAILED: needed in CI"
		failed=$((failed + 1))
	else
		row "$1" - skipped
		skipped=$((skipped + 1))
	fi
}

need_tools() {
	local tool
	for tool in qemu-system-x86_64 busybox cpio bpftool $python apt-get; do
		[ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$tool")" ] && continue
		missing "no $tool"
		finish
	done
	if [ "$(uname -m)" != x86_64 ]; then
		missing "guests are x86_64"
		finish
	fi
}

# Every file of Python's library that the program in the guest loads.
python_files() {
	$python -I -S -c '
import ctypes, os, sys
files = {getattr(module, "__file__", None) for module in sys.modules.values()}
print(*sorted(filter(None, files)), sep="\n")'
}

# Programs, and the shared libraries that they need, where they look for them.
make_initramfs() {
	local root=$work/root file
	mkdir -p "$root"/{bin,sim,proc,sys,dev,tmp,run}
	cp "$(command -v busybox)" "$(PATH=$PATH:/usr/sbin:/sbin command -v bpftool)" \
		$python build/srtleakd build/srtleakctl build/workloads/leak "$root/bin"
	cp build/simcuda/*.so.* "$root/sim"
	install -m 755 tests/matrix/init.sh "$root/init"
	cp tests/matrix/leak.py "$root"
	python_files | while read -r file; do install -D "$file" "$root$file"; done
	# ldd complains of what is not a dynamic program, and fails.
	{ find "$root" -type f ! -path "$root/sim/*" -exec ldd {} + 2>/dev/null || true; } |
		grep -o '\s/[^ :]*' | tr -d '\t ' | sort -u |
		while read -r file; do install -D "$(realpath "$file")" "$root$file"; done
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$work/initramfs"
}

boot() { # IMAGE LOG
	timeout "$guest_seconds" qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 1024 -smp 1 \
		-no-reboot -nodefaults -nographic -serial stdio -monitor none \
		-kernel "$1" -initrd "$work/initramfs" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable rdinit=/init" \
		</dev/null 2>&1 | tr -d '\r' >"$2"
}

# One kernel's rows.
judge() { # IMAGE LOG OPTIONAL
	local name=${1##*/vmlinuz-} mode good bad
	for mode in $modes; do
		good=$(grep -c "^MATRIX $mode [a-z]* pass" "$2" || true)
		bad=$(sed -n "s/^MATRIX $mode \([a-z]*\) fail.*/\1/p" "$2" | tr '\n' ' ')
		grep -q '^MATRIX end' "$2" || bad="${bad}guest did not reach its end"
		if [ "$good" -gt 0 ] && [ -z "$bad" ]; then
			row "$name" "$mode" "$good checks: $(sed -n \
				"s/^MATRIX $mode \(load\|refused\) pass //p" "$2" | head -n 1)"
			passed=$((passed + 1))
		elif [ -n "$3" ]; then
			row "$name" "$mode" "does not work (need not): $bad"
			skipped=$((skipped + 1))
		else
			row "$name" "$mode" "FAILED: $bad"
			# What follows the first failure, up to the next check.
			awk "!seen && /^MATRIX $mode [a-z]* fail/ { on = seen = 1; print; next }
				/^MATRIX/ { on = 0 } on" "$2" | sed 's/^/    /'
			failed=$((failed + 1))
		fi
	done
}

need_tools
update_lists
images=()
optional=()
for series in $must $may; do
	case " $may " in
	*" $series "*) flag=yes ;;
	*) flag= ;;
	esac
	if image=$(fetch "$series"); then
		images+=("$image")
		optional+=("$flag")
	elif [ -n "$flag" ]; then
		row "$series" - "skipped: no package of it"
		skipped=$((skipped + 1))
	else
		missing "no package of Linux $series"
	fi
done
for image; do
	images+=("$image")
	optional+=("")
done

make_initramfs
for i in "${!images[@]}"; do
	[ "$(jobs -pr | wc -l)" -lt "$(nproc)" ] || wait -n || true
	boot "${images[i]}" "$cache/${images[i]##*/}.log" &
done
wait
for i in "${!images[@]}"; do
	judge "${images[i]}" "$cache/${images[i]##*/}.log" "${optional[i]}"
done
finish
