#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a guest: runs the checks below once for each kind of link and turns the machine off.
# For each check it prints `MATRIX MODE CHECK pass|fail DETAIL`; what a failure leaves to read
# follows, and `MATRIX end` comes last.
# shellcheck shell=dash

BLOCKS=20
sim=/sim
mode=
daemon=
leak=

set_up() {
	/bin/busybox --install -s /bin
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	mount -t devtmpfs dev /dev
	mount -t tmpfs tmp /tmp
	mount -t tmpfs run /run
	mount -t bpf bpf /sys/fs/bpf
	mount -t debugfs debug /sys/kernel/debug
	mount -t tracefs trace /sys/kernel/tracing
	# The programs that hold memory read from here, and see no end of it.
	mkfifo /tmp/stdin
	exec 9<>/tmp/stdin
	export SIMCUDA_INIT_MS=0 SIMCUDA_DIR=$sim
}

report() { # CHECK pass|fail [DETAIL]
	echo "MATRIX $mode $1 $2 ${3-}"
	[ "$2" = pass ] && return
	sed 's/^/  daemon: /' /tmp/daemon.log
	ctl status | sed 's/^/  status: /'
}

# Tries a command until it succeeds; the guest is slow, so it has long.
eventually() {
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.2
	done
}

expect() { # CHECK DETAIL COMMAND...
	check=$1 detail=$2
	shift 2
	if eventually "$@" 2>/dev/null; then
		report "$check" pass "$detail"
	else
		report "$check" fail "$detail"
	fi
}

ctl() {
	srtleakctl --json "$@" 2>/dev/null
}

is_since() { # MAJOR MINOR
	uname -r | awk -F '[.]' "{ exit !(\$1 > $1 || (\$1 == $1 && \$2 >= $2)) }"
}

# Attach cookies came with 5.15, uprobe multi links with 6.6.
expected_links() {
	if ! is_since 5 15; then
		echo none
	elif is_since 6 6; then
		[ $mode = perf ] && echo perf || echo multi
	else
		[ $mode = multi ] && echo none || echo perf
	fi
}

# Programs and maps that the kernel holds, but its own, which HID devices have it load at any time.
in_kernel() {
	{ bpftool prog show && bpftool map show; } | grep '^[0-9]*:' | grep -v 'name hid_'
}

ready_or_gone() {
	grep -q 'tracking with' /tmp/daemon.log || ! kill -0 "$daemon"
}

start_daemon() {
	: >/tmp/daemon.log # the one before was ready, too
	srtleakd --attach $mode --listen none --libraries "$sim/*.so*" 2>/tmp/daemon.log &
	daemon=$!
	eventually ready_or_gone 2>/dev/null
	grep -q "tracking with $1 links" /tmp/daemon.log
}

start_leak() { # ARGUMENTS of leak
	leak --hold 3600 "$@" </tmp/stdin >/tmp/leak.out &
	leak=$!
}

said() {
	grep -q "$1" /tmp/leak.out
}

pointers() {
	grep -o '"ptr":"[^"]*"' | sort
}

tables_agree() {
	ctl allocs "$leak" --limit 0 | pointers >/tmp/listed
	[ -s /tmp/listed ] && pointers </tmp/ledger | cmp -s - /tmp/listed
}

outstanding() { # COUNT, of the leak
	ctl ps | grep -q "{\"pid\":$leak,.*\"device\":{\"bytes\":[0-9]*,\"count\":$1}"
}

counted() { # NAME NUMBER, of status
	ctl status | grep -q "\"$1\":$2[,}]"
}

failures_counted() {
	counted failed_allocs 2 && counted failed_frees 3
}

nothing_lost() {
	ctl status | sed 's/.*"lost":{//; s/}.*//' >/tmp/lost
	[ -s /tmp/lost ] && ! grep -q ':[1-9]' /tmp/lost
}

nobody_listed() {
	[ "$(ctl ps)" = '{"processes":[]}' ] && counted allocations 0
}

native_names() { # the site's frames, innermost first
	ctl sites "$leak" | sed 's/.*"native":\[//; s/\].*//' | grep -o '"symbol":"[^"]*"' |
		cut -d '"' -f 4 | tr '\n' ' '
}

native_named() {
	case $(native_names) in
	"grow_workspace prepare_context handle_request handle_requests allocate main "*) ;;
	*) return 1 ;;
	esac
}

python_named() {
	ctl sites "$leak" | grep -q '"function":"fill_cache","file":"/leak.py","line":[0-9]*},{"function":"serve"'
}

end_leak() {
	kill "$leak"
	wait "$leak" 2>/dev/null
	expect "$1" "nothing listed, no entry left" nobody_listed
}

tells_real_files() {
	! grep -q 'which file an overlay shows' /tmp/daemon.log
}

check_files() {
	if is_since 6 1; then
		expect files "the kernel is asked which files are mapped" tells_real_files
	fi
}

check_counts() {
	start_leak --at-once --ledger /tmp/ledger "$BLOCKS" 4096
	eventually said allocated
	expect counts "$BLOCKS blocks as in the ledger" tables_agree
	expect native "$(native_names)" native_named
	end_leak exit
}

check_threads() {
	start_leak --at-once --threads 4 --ledger /tmp/ledger 250 4096
	eventually said allocated
	expect threads "1000 blocks of 4 threads as in the ledger" tables_agree
	expect lossless "no loss counted" nothing_lost
	end_leak exit
}

check_free() {
	start_leak --at-once --fail 2 --then-free --free-unknown 3 "$BLOCKS" 4096
	eventually said '"freed"'
	expect free "all $BLOCKS gone while the process lives" outstanding 0
	expect failed "2 failed allocations, 3 failed frees" failures_counted
	end_leak exit
}

check_exec() {
	start_leak --at-once "$BLOCKS" 4096 --exec --at-once --hold 3600 7 4096
	eventually said allocated
	expect exec "7 blocks after $BLOCKS before exec" outstanding 7
	end_leak exit
}

armed() {
	[ "$(ctl status | grep -o "\"binary\":\"$1/" | wc -l)" = 2 ]
}

check_late() {
	rm -rf "/late-$mode"
	cp -r $sim "/late-$mode"
	SIMCUDA_DIR=/late-$mode start_leak --step --ledger /tmp/ledger "$BLOCKS" 4096
	expect found "libraries that a process maps" armed "/late-$mode"
	echo >&9
	eventually said allocated
	expect late "$BLOCKS blocks as in the ledger" tables_agree
	end_leak exit
}

check_python() {
	python3.11 -I -S /leak.py $sim/libcudart.so.13 "$BLOCKS" </tmp/stdin >/tmp/leak.out &
	leak=$!
	eventually said allocated
	expect python "fill_cache, serve" python_named
	end_leak exit
}

# The probes stay when the daemon is killed.
check_restart() {
	start_leak --step --ledger /tmp/ledger "$BLOCKS" 4096
	eventually said loaded
	kill -KILL "$daemon"
	wait "$daemon"
	echo >&9
	eventually said allocated
	if start_daemon "$links"; then
		expect restart "$BLOCKS blocks made while no daemon ran" tables_agree
	else
		report restart fail "$links links"
	fi
	end_leak exit
}

unchanged() {
	in_kernel | cmp -s - /tmp/before
}

check_stop() {
	kill "$daemon"
	wait "$daemon"
	status=$?
	expect stop "exit status $status; programs and maps as before" test $status = 0
	expect gone "programs and maps as before the start" unchanged
}

check_refusal() {
	srtleakd --attach $mode --listen none 2>/tmp/daemon.log
	status=$?
	expect refused "exit status $status: $(tail -n 1 /tmp/daemon.log | sed 's/^<.>//')" \
		test $status = 6
}

check_mode() {
	links=$(expected_links)
	if [ "$links" = none ]; then
		check_refusal
		return
	fi
	in_kernel >/tmp/before
	if ! start_daemon "$links"; then
		report load fail "$links links"
		srtleakctl --no-color doctor
		kill "$daemon" 2>/dev/null
		wait "$daemon"
		return
	fi
	report load pass "$links links"
	check_files
	check_counts
	check_threads
	check_free
	check_exec
	check_late
	check_python
	check_restart
	check_stop
}

set_up
echo # what the firmware has written stands in the first line
for mode in auto multi perf; do
	check_mode
done
echo "MATRIX end"
poweroff -f
