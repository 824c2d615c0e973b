#!/bin/bash
# Everything that a change has to pass: make check. Stops at the first failure; what runs quietly shows its output when it fails.
set -u
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1
start=$SECONDS
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { # step NAME COMMAND...
    local name=$1 began=$SECONDS
    shift
    printf '%-34s' "$name"
    if "$@" >"$log" 2>&1; then
        printf 'ok  %3d s\n' $((SECONDS - began))
    else
        printf 'FAILED\n\n'
        tail -n 200 "$log" | cut -c 1-400
        printf '\ncheck: what failed, in short:\n'
        grep -aE '^(FAILED|ERROR|RERUN|E  +|\[  (FAILED|ERROR) )|: (fatal )?error: |ERROR: .*Sanitizer' "$log" | cut -c 1-300 | tail -n 40
        printf '\ncheck: FAILED at "%s": %s\n' "$name" "$*"
        exit 1
    fi
}

# Modes of the build differ in their object folders only, so two may run side by side.
jobs=-j$(($(nproc) > 2 ? 2 : $(nproc)))

step "layers" make -s layers
step "unit tests, fuzz corpora" make -s "$jobs" unit
units=$(sed -n 's/.*PASSED  \] \([0-9]*\) test(s).*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
step "the same under ASan and UBSan" make -s "$jobs" asan
step "stories of streams under chaos" make -s "$jobs" stories
stories=$(sed -n 's/.*PASSED  \] \([0-9]*\) test(s).*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
step "the same under ASan and UBSan" make -s "$jobs" MODE=asan stories
# Tests that cannot run here (no namespaces, no root) fail with a clear message.
# A test that fails is told once more, for these run on clocks and kernels that a busy machine stalls; one that needed it is named
# with its first failure, and more than two of them are a failure.
step "end to end, in network namespaces" /usr/bin/python3 -m pytest -q -p no:cacheprovider --reruns 1 --tb=short --strict-markers \
    -rfERs test/e2e
summary=$(tail -n 1 "$log")
if grep -q '^RERUN' "$log"; then
    sed -n '/needed a second run =*$/,/needed a second run, end =*$/p' "$log" | cut -c 1-400
    grep '^RERUN' "$log"
    if [ "$(grep -c '^RERUN' "$log")" -gt 2 ]; then
        echo "check: FAILED: more than two tests needed a second run"
        exit 1
    fi
fi
# Without the corpus its tests are skipped, by name; the project's own cases cover the same ground. CI has it.
if grep -q 'skipped' <<<"$summary"; then
    grep '^SKIPPED' "$log"
    if [ "${CI:-}" = true ]; then
        echo "check: FAILED: tests were skipped"
        exit 1
    fi
fi
echo "check: all passed: $units unit tests and $stories stories, twice (plain, ASan+UBSan); end to end: $summary; $((SECONDS - start)) s in all"
echo "$((units + stories + $(grep -o '^[0-9]* passed' <<<"$summary" | cut -d' ' -f1))) passed, 0 failed"
