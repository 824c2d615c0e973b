#!/bin/bash
# make bench: weft beside HAProxy and nginx on the same work, in one run; about 6 minutes. Installs what it compares with.
# BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY="rps idle ..." choose; the tables go to build/bench, too.
set -u
cd "$(dirname "$0")" || exit 1
rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-3} out=../../build/bench
peers="haproxy nginx libnginx-mod-stream"
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
port=22000
row() { # row NAME SCENARIO ARGUMENT...
    local name=$1
    shift
    [ -z "${BENCH_ONLY:-}" ] || grep -qw -- "$name" <<<"$BENCH_ONLY" || return 0
    port=$((port + 150))
    echo "== $name"
    BENCH_PORT=$port ./run "$@" 2>"$out/$name.err" | tee "$out/$name.txt"
    [ "${PIPESTATUS[0]}" -eq 0 ] || { echo "bench: $name failed:"; tail -5 "$out/$name.err"; failed=1; }
}
failed=0
row rps rps haproxy nginx weft --rounds "$rounds" --dur "$seconds"
row rps-tls12 rps haproxy@tls12 weft@tls12 --rounds "$rounds" --dur "$seconds"
row rps-two rps haproxy@tls12 weft@tls12 --rounds "$rounds" --dur "$seconds" --workers 2
row hop hop haproxy nginx weft --rounds "$rounds" --dur "$seconds"
row handshake handshake haproxy nginx weft --rounds "$rounds" --dur "$seconds"
row resume handshake-resume haproxy@tls12 weft@tls12 --rounds "$rounds" --dur "$seconds"
row bulk bulk haproxy nginx weft@tls12 --rounds "$rounds" --dur "$seconds"
row idle idle haproxy weft@tls12 --rounds 1 --counts 1000,9000
row scale scale haproxy nginx weft --rounds 2 --dur 2 --routes 1000,10000
exit $failed
