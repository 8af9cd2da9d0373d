#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The whole path once: the daemon, a Python inference server that leaks, and what srtleak says of it.
# Everything is started in a directory of its own, and gone at the end.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
	echo "demo: needs root, to load BPF programs: sudo make demo" >&2
	exit 1
fi

seconds=${DEMO_SECONDS:-8}
work=$(mktemp -d)
daemon=
server=
cleanup() {
	for pid in $server $daemon; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

ctl() {
	echo
	echo "\$ srtleakctl $*"
	build/srtleakctl --socket "$work/srtleak.sock" "$@"
}

# Waits until the log of a process has what is looked for.
wait_for() {
	tries=0
	until grep -q "$1" "$2" 2>/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 300 ] || ! kill -0 "$3" 2>/dev/null; then
			echo "demo: it does not start; its log:" >&2
			cat "$2" >&2
			exit 1
		fi
		sleep 0.1
	done
}

echo "Starting srtleakd."
build/srtleakd --socket "$work/srtleak.sock" --listen none --no-pin \
	--libraries "$PWD/build/simcuda/*.so.*" 2>"$work/daemon.log" &
daemon=$!
wait_for "tracking with" "$work/daemon.log" "$daemon"

echo "Starting a Python server on simulated CUDA libraries. Its prefix cache never evicts."
SIMCUDA_DIR=build/simcuda /usr/bin/python3.11 tests/workloads/server.py --leak prefix_cache \
	--requests-per-second 40 >"$work/server.log" 2>&1 &
server=$!
wait_for '"port"' "$work/server.log" "$server"

echo "It serves 40 requests a second for $seconds seconds."
sleep "$seconds"

ctl ps
ctl sites "$server" --limit 3

# The demo is a test too: the leak must be what is shown first.
top=$(build/srtleakctl --socket "$work/srtleak.sock" --json sites "$server" --limit 1 |
	/usr/bin/python3 -c 'import json, sys
print(json.load(sys.stdin)["sites"][0]["python"][0]["function"])')
if [ "$top" != PrefixCache.insert ]; then
	echo "demo: expected PrefixCache.insert to be first, found $top" >&2
	exit 1
fi
echo
echo "The leak: $top holds what was never freed. Ending the server and srtleakd."
