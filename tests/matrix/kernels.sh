# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian's kernel images, for scripts that boot them: found by their meta-package at run time, kept
# in $cache.
: "${cache:?}" "${work=}"

suites="bullseye-security bookworm-security trixie-security trixie-backports"
meta=linux-image-cloud-amd64

# A directory for this run's files, which goes with it, as do the machines that still run then.
make_work() { # FOLDER
	work=$(mktemp -d "$1/run.XXXXXX")
	trap cleanup EXIT
	trap 'exit 1' INT TERM
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	jobs -p | xargs -r kill 2>/dev/null || true
	wait
	rm -rf "$work"
}

# apt with sources and state of its own: the system's stay as they are.
apt_own() { # TOOL ARGUMENTS...
	local tool=$1
	shift
	"$tool" -q -o Dir::Etc::SourceList="$cache/sources.list" -o Dir::Etc::SourceParts=- \
		-o Dir::State="$cache/apt" -o Dir::State::Status=/dev/null \
		-o Dir::Cache="$cache/apt" "$@" 2>>"$work/apt.log"
}

# Suites of other releases, from the mirrors that this system is configured to use.
update_lists() {
	# shellcheck disable=SC2016 # apt expands these
	local format='$(LABEL) $(REPO_URI)' label uri suite wanted
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial"
	apt-get indextargets --format "$format" | sort -u >"$work/mirrors"
	for suite in $suites; do
		case $suite in
		*-security) wanted=Debian-Security ;;
		*) wanted=Debian ;;
		esac
		while read -r label uri; do
			[ "$label" = $wanted ] && echo "deb $uri $suite main"
		done <"$work/mirrors"
	done >"$cache/sources.list" || true
	apt_own apt-get update >>"$work/apt.log" || echo "working with older package lists"
}

# The newest package of a series that any suite's meta-package leads to.
package_of() { # SERIES
	local series=${1//./\\.} image
	image=$(apt_own apt-cache show $meta | grep -o "linux-image-$series\.[^ ,]*" |
		sort -uV | tail -n 1) || return 1
	# From 7.0 on the image is in a package of its own.
	apt_own apt-cache depends "$image" | grep -o 'linux-binary-[^ ]*' || echo "$image"
}

# Prints the path of a series's kernel image, which is fetched unless it is there.
fetch() { # SERIES
	local package path
	package=$(package_of "$1") || return 1
	path=$cache/vmlinuz-${package#linux-*-}
	if [ ! -s "$path" ]; then
		(cd "$work" && apt_own apt-get download "$package" >>apt.log) || return 1
		dpkg-deb --fsys-tarfile "$work/$package"_*.deb |
			tar -xO --wildcards --no-anchored 'vmlinuz*' >"$work/vmlinuz" || return 1
		[ -s "$work/vmlinuz" ] || return 1
		mv "$work/vmlinuz" "$path"
	fi
	echo "$path"
}
