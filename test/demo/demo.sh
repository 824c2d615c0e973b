#!/bin/bash
# make demo: a real mesh of several hosts on this machine, shown working. Needs root.
#   KEEP=1 test/demo/demo.sh   leaves it running and says what to try
#   test/demo/demo.sh stop     ends what KEEP=1 left
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ "${KEEP:-}" = 0 ] && KEEP=
export KEEP="${KEEP:-}" PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -u "$here/demo.py" "$@"
