#!/bin/bash
# make bench: weft beside HAProxy and nginx on the same work, in one run; about 20 minutes. Installs what it compares with.
# BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY="rps idle ..." choose; BENCH_NICE=-10 goes ahead of other work (for latency). Tables and raw results go to build/bench; rows that are
# not run again keep theirs, and the summary at the end is of all of them.
set -u
cd "$(dirname "$0")" || exit 1
rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-3} out=../../build/bench
peers="haproxy nginx libnginx-mod-stream nghttp2-client"
missing=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $peers 2>/dev/null | awk '$2 == "installed" {print $1}' |
    sort | comm -13 - <(printf '%s\n' $peers | sort))
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { echo "bench: install first: $missing"; exit 1; }
    # Their services must not start here.
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -q=2 -y --no-install-recommends install $missing >/dev/null || exit 1
fi
mkdir -p "$out"
port=22000 failed=0 before=() rows=()
row() { # row NAME SCENARIO ARGUMENT...
    local name=$1
    shift
    rows+=("$name")
    [ -z "${BENCH_ONLY:-}" ] || [[ " $BENCH_ONLY " == *" $name "* ]] || return 0
    port=$((port + 150))
    echo "== $name"
    rm -f "$out/$name.jsonl"
    BENCH_PORT=$port "${before[@]}" ./run "$@" --json "$out/$name.jsonl" 2>"$out/$name.err" | tee "$out/$name.txt"
    [ "${PIPESTATUS[0]}" -eq 0 ] || { echo "bench: $name failed:"; tail -5 "$out/$name.err"; failed=1; }
}
tls13="haproxy nginx weft"
tls12="haproxy@tls12 nginx@tls12 weft@tls12"
nice="--nice ${BENCH_NICE:-0}"
t="--rounds $rounds --dur $seconds $nice"
# shellcheck disable=SC2086
{
    row rps rps $tls13 $t
    row rps-tls12 rps $tls12 $t
    row rps-two rps $tls12 $t --workers 2
    row rps-log rps haproxy@tls12,accesslog nginx@tls12,accesslog weft@tls12,accesslog $t
    row hop hop $tls13 direct $t
    row h2 h2 $tls12 $t
    row crowd crowd $tls12 $t --conns 100
    row mixed mixed $tls12 $t
    row latency latency direct $tls12 $t --rates 1000 --latconns 16
    row handshake handshake $tls13 $t
    row resume handshake-resume $tls12 $t
    row bulk bulk $tls12 $t
    row bulk-http bulk-http $tls12 $t
    row idle idle $tls12 --rounds "$rounds" --modes tcp-resume,http --counts 1000,9000
    [ "$(id -u)" != 0 ] || before=(env -u BENCH_PORT ./in-netns) # an agent of a mesh captures; its ports are fixed
    row memory memory $tls13 $([ "$(id -u)" != 0 ] || echo weft@member) --rounds "$rounds"
    before=()
    row scale scale $tls13 --rounds "$rounds" --dur 2 --routes 1000,10000 --reload $nice
    row push push $tls13 --rounds "$rounds" --dur 16 --rates 1000 --routes 10000 $nice
}
files=()
for r in "${rows[@]}"; do
    [ -s "$out/$r.jsonl" ] && files+=("$out/$r.jsonl")
done
[ ${#files[@]} -eq 0 ] || { echo; ./report --summary "${files[@]}" | tee "$out/summary.md"; }
exit $failed
