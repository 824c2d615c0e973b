#!/bin/sh
# All tests, quickest first: layers, unit tests and replayed corpora, the same under ASan and UBSan, then the real binary in
# network namespaces. Stops at the first stage that fails and shows its output. Run by `make check`.
set -u
cd "$(dirname "$0")/.." || exit 1
log=$(mktemp -d) || exit 1
trap 'rm -rf "$log"' EXIT
jobs=$(nproc 2>/dev/null || echo 1)
unit=0

stage() { # stage NAME COMMAND...: quiet while all is well
    name=$1
    shift
    printf '%-34s' "$name"
    start=$(date +%s)
    if "$@" >"$log/out" 2>&1; then
        echo "ok, $(($(date +%s) - start)) s"
    else
        echo "FAILED"
        tail -n 200 "$log/out"
        echo "check: $name failed; alone: $*"
        exit 1
    fi
}

count() { # cmocka's own count of what passed
    sed -n 's/.*PASSED  \] \([0-9]*\) test(s).*/\1/p' "$log/out" | awk '{n += $1} END {print n + 0}'
}

stage "layers" make -s layers
stage "build unit tests" make -s -j"$jobs" unit-programs
stage "unit tests, corpora" make -s unit
unit=$(count)
stage "build under ASan and UBSan" make -s -j"$jobs" MODE=asan unit-programs
stage "unit tests under ASan and UBSan" make -s MODE=asan unit
sanitized=$(count)
echo "end to end, in network namespaces:"
/usr/bin/python3 -m pytest -q -p no:cacheprovider test/e2e >"$log/out" 2>&1
rc=$?
[ $rc -eq 0 ] || cat "$log/out"
echo "unit tests: $unit passed, under sanitizers: $sanitized passed"
tail -n 1 "$log/out"
exit $rc
