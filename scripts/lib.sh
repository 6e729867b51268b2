# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts share: where things are, how they speak, how a long step is run and how an
# entry gets into the cache. Sourced, never run.

set -euo pipefail
# A message of git, apt or gcc is searched for words below, so they must speak English.
export LC_ALL=C.UTF-8

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$project/build
cache=${KPIPE_CACHE:-${XDG_CACHE_HOME:-${HOME:?is not set, so there is no place for the cache; set KPIPE_CACHE}/.cache}/kpipe}
export project build cache
# Kernel series that driver/ is written for.
supported_series='7.2 7.3'
export supported_series

say() { printf 'kpipe: %s\n' "$*" >&2; }

# die SENTENCE: says what to do and ends the script.
die() {
    say "$*"
    exit 1
}

# step TEXT COMMAND...: runs COMMAND with its output in build/logs, and shows TEXT and the time it
# takes. COMMAND may be a function; `set -e` holds in it. If it fails, the script ends with the
# cause and the path of the log. V=1 shows the output as it comes.
step() {
    local text=$1 log status=0 began=$SECONDS watcher
    shift
    log=$build/logs/$(tr -cs '[:alnum:]\n' - <<<"$text" | head -c 60).log
    mkdir -p "$build/logs"
    : >"$log"
    if [ "${V:-0}" = 1 ]; then
        say "$text"
        show_output "$log" $$ &
    else
        show_progress "$text" $$ &
    fi
    watcher=$!
    # Not `if ! "$@"`: bash would then ignore `set -e` inside a function.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    status=$?
    set -e
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    [ ! -t 2 ] || [ "${V:-0}" = 1 ] || printf '\r\033[K' >&2
    [ $status = 0 ] || explain_failure "$text" "$log"
    say "$text: $((SECONDS - began)) s"
}

# show_progress TEXT PID: the seconds on a terminal; elsewhere (a CI log) a line every 30 s.
# It ends by itself with the script PID, even one that was killed.
show_progress() {
    local text=$1 parent=$2 began=$SECONDS
    leave_lock
    while sleep 1 && kill -0 "$parent" 2>/dev/null; do
        local seconds=$((SECONDS - began))
        if [ -t 2 ]; then
            printf '\r\033[Kkpipe: %s: %d s ...' "$text" $seconds >&2
        elif [ $((seconds % 30)) = 0 ]; then
            say "$text: $seconds s ..."
        fi
    done
}

# show_output LOG PID: all output as it comes, until the script PID ends.
show_output() {
    leave_lock
    exec tail -f --pid="$2" "$1" >&2
}

# A lock belongs to the script and not to what shows its progress, which may end a bit later.
leave_lock() { [ -z "${lock:-}" ] || exec {lock}>&-; }

# explain_failure TEXT LOG: one sentence that says what to do.
explain_failure() {
    local text=$1 log=$2 errors='(^|[^a-z_])error(\[E[0-9]+\])?:|\*\*\*'
    if grep -qsE 'No space left on device|Disk quota exceeded|enough free space' "$log"; then
        die "$text: no space left: free some in $cache (or set KPIPE_CACHE to another disk) and run it again; log: $log"
    fi
    if grep -qsE 'Temporary failure resolving|Could not resolve|[Cc]ould not connect|Unable to connect|Connection (timed out|refused)|Network is unreachable|Could not handshake|Failed to fetch|spurious network error' "$log"; then
        die "$text: the network does not answer: check it (and http_proxy, https_proxy) and run it again; log: $log"
    fi
    # Of parallel jobs, the one that failed may stand far above the end.
    if grep -qE "$errors" "$log"; then
        grep -E -m 3 -A 10 "$errors" "$log" >&2
    else
        tail -n 20 "$log" >&2
    fi
    die "$text failed; all of its output is in $log (V=1 shows it as it comes)"
}

# cached NAME KEY MAKER: makes the cache entry NAME-KEY unless it is there, and leaves its path in
# $entry. MAKER is a function that fills the folder it is given. The folder is a temporary sibling
# that is renamed when it is complete, so that an entry is either whole or absent; the lock makes
# a second run wait for the first one's entry.
cached() {
    local name=$1 key=$2 maker=$3 lock temporary
    entry=$cache/$name-$key
    [ ! -d "$entry" ] || return 0
    mkdir -p "$cache" || die "cannot make $cache; set KPIPE_CACHE to a folder that you can write to"
    exec {lock}>"$cache/.$name.lock"
    if ! flock --nonblock "$lock"; then
        say "another run is preparing the $name: waiting for it"
        flock "$lock"
    fi
    if [ ! -d "$entry" ]; then
        # Whoever holds the lock owns all temporaries of this name: an interrupted run left them.
        chmod -R u+w "$cache/.$name".new.* 2>/dev/null || true
        rm -rf --one-file-system "$cache/.$name".new.*
        temporary=$cache/.$name.new.$$
        # shellcheck disable=SC2064 # the name of now
        trap "rm -rf --one-file-system '$temporary' '$temporary.tmp'" EXIT
        mkdir "$temporary"
        $maker "$temporary"
        mv -T "$temporary" "$entry"
        trap - EXIT
    fi
    exec {lock}>&-
}

# fingerprint TEXT...: a short hash of the arguments; the key of a cache entry.
fingerprint() { printf '%s\0' "$@" | sha256sum | head -c 12; }
