#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# In the guest: one step of a service's life after the other. For each check it prints
# `SYSTEM PASS|FAIL CHECK`; what a failure leaves to read follows. `SYSTEM end` comes last.
#
# Two processes are watched throughout: `leak`, whose blocks a ledger lists, so that tables can be
# compared entry by entry, and an inference server of the user alice, on libraries in her home that
# nobody else may enter.
export HOME=/root LC_ALL=C

UNIT=srtleakd.service
PINS=/sys/fs/bpf/srtleak
DROP_IN=/etc/systemd/system/srtleakd.service.d/older-kernels.conf
BLOCKS=20
PATIENCE=60 # seconds; the guest is slow
WATCHDOG_PATIENCE=150

explain() {
	systemctl status --no-pager -l $UNIT
	journalctl --no-pager -q -n 15 -u $UNIT -o short-precise
	srtleakctl --no-color ps
} 2>&1

check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@"; then
		echo "SYSTEM PASS $what"
	else
		echo "SYSTEM FAIL $what"
		explain | sed 's/^/    /'
	fi
} 2>/dev/null

eventually() {
	local end=$((SECONDS + PATIENCE))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

kernel_is_older() {
	dpkg --compare-versions "$(uname -r)" lt 6.6
}

property() {
	systemctl show -P "$1" $UNIT
}

main_pid() {
	property MainPID
}

is() { # PROPERTY VALUE
	[ "$(property "$1")" = "$2" ]
}

ctl() {
	srtleakctl --json "$@"
}

python() {
	python3.11 -c "import json, sys; $1"
}

# The processes watched

set_up() {
	useradd --create-home alice
	useradd bob
	chmod 700 /home/alice
	cp -r /test/sim /home/alice/sim
	chown -R alice: /home/alice
	mkfifo /tmp/stdin
	exec 9<>/tmp/stdin
	before=$(in_kernel)
	find_named >/tmp/named.before
}

start_watched() {
	SIMCUDA_DIR=/test/sim SIMCUDA_INIT_MS=0 /test/leak --ledger /tmp/ledger --hold 36000 $BLOCKS 4096 \
		<&9 >/tmp/leak.out &
	leak=$!
	systemd-run -q --unit=server -p User=alice -p PrivateTmp=yes -E SIMCUDA_DIR=/home/alice/sim \
		/usr/bin/python3.11 /test/server.py --leak prefix_cache --requests-per-second 5
	server=$(systemctl show -P MainPID server)
	eventually grep -q allocated /tmp/leak.out
}

pointers() {
	grep -o '"ptr":"[^"]*"' | sort
}

# Each block that the ledger lists, and no other.
tables_agree() {
	ctl allocs "$leak" --limit 0 | pointers >/tmp/listed
	[ "$(wc -l </tmp/listed)" = $BLOCKS ] && pointers </tmp/ledger | cmp -s - /tmp/listed
}

site_first() {
	[ "$(ctl sites "$server" --limit 1 |
		python 'print(json.load(sys.stdin)["sites"][0]["python"][0]["function"])')" = PrefixCache.insert ]
}

knows_blocks_from() { # SECONDS, as bash counts them
	ctl sites "$server" --limit 1 | AGE=$((SECONDS - $1)) python '
import os
sys.exit(json.load(sys.stdin)["sites"][0]["oldest_age_s"] < int(os.environ["AGE"]))'
}

# The service

installs() { # PACKAGE
	DEBIAN_FRONTEND=noninteractive dpkg -i "$1" >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; false; }
}

removes() { # -r, --purge
	dpkg "$1" srtleak >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; false; }
}

accounts_made() {
	getent passwd srtleak && getent group srtleak && getent group srtleak-admin
} >/dev/null

journal_has() { # PRIORITY TEXT
	journalctl -q -b -u $UNIT -o json | P=$1 T=$2 python '
import os
for line in sys.stdin:
    entry = json.loads(line)
    if entry.get("_SYSTEMD_UNIT") == "srtleakd.service" and entry["PRIORITY"] == os.environ["P"] \
            and os.environ["T"] in str(entry["MESSAGE"]):
        sys.exit(0)
sys.exit(1)'
}

is_refused_for_privilege() {
	eventually is ActiveState failed
	is ExecMainStatus 4 && is NRestarts 0 && journal_has 3 "CAP_SYS_ADMIN"
}

add_drop_in() {
	install -D -m 644 /usr/share/doc/srtleak/examples/older-kernels.conf $DROP_IN
	systemctl daemon-reload
	systemctl restart $UNIT
}

# CAP_DAC_READ_SEARCH 2, CAP_SYS_PTRACE 19, CAP_SYS_ADMIN 21, CAP_PERFMON 38, CAP_BPF 39.
has_these_capabilities_only() {
	local wanted=000000c000080004 field
	kernel_is_older && wanted=000000c000280004
	for field in CapPrm CapEff CapBnd CapAmb; do
		[ "$(sed -n "s/^$field:\t//p" "/proc/$(main_pid)/status")" = $wanted ] || return 1
	done
}

is_confined() {
	local status
	status=/proc/$(main_pid)/status
	grep -q "^Uid:.$(id -u srtleak)\b" "$status" && grep -q '^NoNewPrivs:.1' "$status" &&
		grep -q '^Seccomp:.2' "$status"
}

socket_is_guarded() {
	[ "$(stat -c '%a %U %G' /run/srtleak/srtleak.sock)" = "660 srtleak srtleak" ]
}

as_bob() { # GROUPS COMMAND...
	local groups=$1
	shift
	setpriv --reuid bob --regid bob --groups "$groups" "$@"
}

bob_is_refused() {
	as_bob bob srtleakctl ps >/dev/null
	[ $? = 4 ]
}

bob_is_served() {
	as_bob srtleak srtleakctl ps >/dev/null
}

is_another() { # PID
	[ "$(main_pid)" != 0 ] && [ "$(main_pid)" != "$1" ] && is ActiveState active
}

# Kills by the watchdog, or by hand, must not cost a block.
survives() { # WHAT COMMAND...
	local what=$1 pid moment=$SECONDS
	shift
	pid=$(main_pid)
	"$@"
	PATIENCE=$WATCHDOG_PATIENCE check "$what: another daemon is active" eventually is_another "$pid"
	check "$what: the table is the ledger's" eventually tables_agree
	check "$what: the leak is named" eventually site_first
	check "$what: with its blocks from before" knows_blocks_from "$moment"
}

hang() {
	kill -STOP "$(main_pid)"
}

crash() {
	kill -KILL "$(main_pid)"
}

upgrade() {
	echo 'max_series = 5000' >>/etc/srtleak/srtleak.conf
	installs /test/next.deb
}

reloads() {
	local pid
	pid=$(main_pid)
	systemctl reload $UNIT && eventually is ActiveState active && is MainPID "$pid"
}

# A configuration that is wrong is said once, not tried again and again.
refuses_bad_configuration() {
	mkdir -p /etc/srtleak/srtleak.conf.d
	echo 'nonsense = 1' >/etc/srtleak/srtleak.conf.d/bad.conf
	systemctl restart $UNIT && return 1
	sleep 3 # longer than RestartSec
	is ActiveState failed && is ExecMainStatus 2 && journal_has 3 "bad.conf:1"
}

comes_back() {
	rm -r /etc/srtleak/srtleak.conf.d
	systemctl start $UNIT && tables_agree
}

# Kinds of programs that a tracker loads; systemd's own are of others.
in_kernel() {
	bpftool prog show | grep -E '^[0-9]+: (kprobe|tracing|tracepoint|raw_tracepoint|perf_event) ' |
		grep -v 'name hid_'
}

# The directory of the pins is the unit's and may stay until the package goes.
is_out_of_the_kernel() {
	[ "$(in_kernel)" = "$before" ] && [ -z "$(ls -A $PINS 2>/dev/null)" ]
}

find_named() {
	find / -xdev -name '*srtleak*' ! -path '/proc/*' ! -path '/test/*' ! -path '/run/log/*' | sort
}

nothing_is_left() {
	[ ! -e $PINS ] || return 1
	find_named >/tmp/named.after
	diff /tmp/named.before /tmp/named.after && ! accounts_made &&
		[ "$(dpkg-query -W -f '${Status}' srtleak)" = "" ]
}

install_it() {
	check "the package installs" installs /test/first.deb
	check "user and groups are made" accounts_made
	check "the service starts at boot" systemctl -q is-enabled $UNIT
	if kernel_is_older; then
		check "without CAP_SYS_ADMIN: exit status 4, no retry, the reason in the journal" \
			is_refused_for_privilege
		check "the installation said so" grep -q README.Debian /tmp/dpkg.log
		check "with the drop-in it starts" add_drop_in
	fi
	check "active after the installation" is ActiveState active
	check "ready only when armed" journal_has 6 "tracking with"
}

look_at_it() {
	check "exactly the capabilities that it needs" has_these_capabilities_only
	check "its own user, no new privileges, system calls filtered" is_confined
	check "the socket is group srtleak's" socket_is_guarded
	check "strangers are refused" bob_is_refused
	check "members of the group are not" bob_is_served
	check "HTTP answers" python '
import urllib.request
assert b"srtleak_build_info" in urllib.request.urlopen("http://127.0.0.1:9748/metrics").read()'
}

live_with_it() {
	start_watched
	check "the table is the ledger's" eventually tables_agree
	check "alice's leak is named" eventually site_first
	check "nothing but information in the journal" \
		test -z "$(journalctl -q -u $UNIT _SYSTEMD_UNIT=$UNIT -p warning --since "@$armed_at")"
	survives "watchdog" hang
	check "watchdog: systemd says so" is NRestarts 1
	survives "crash" crash
	survives "restart" systemctl restart $UNIT
	check "reload: same daemon, active" reloads
	check "bad configuration: exit status 2, no retry, file and line in the journal" \
		refuses_bad_configuration
	check "bad configuration: repaired, it goes on where it was" comes_back
	survives "upgrade" upgrade
	check "upgrade: the administrator's configuration stays" \
		grep -q 'max_series = 5000' /etc/srtleak/srtleak.conf
	check "memory is limited ($(($(property MemoryCurrent) >> 20)) of \
$(($(property MemoryMax) >> 20)) MiB)" test "$(property MemoryMax)" -le $((1 << 30))
}

take_it_away() {
	check "stop" systemctl stop $UNIT
	check "stop: nothing is left in the kernel" is_out_of_the_kernel
	systemctl start $UNIT
	crash
	kill "$leak"
	systemctl stop server
	check "remove" removes -r
	check "remove: nothing is left in the kernel" eventually is_out_of_the_kernel
	check "purge" removes --purge
	rm -rf /etc/systemd/system/srtleakd.service.d
	check "purge: nothing is left" nothing_is_left
}

echo # what the firmware has written stands in the first line
set_up
install_it
armed_at=$(date +%s)
look_at_it
live_with_it
take_it_away
echo "SYSTEM end"
