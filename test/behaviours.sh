#!/bin/sh
# test/behaviours.sh - does every test that docs/behaviours.md names exist? Names each that does not, and every row of
# its tables that names none; ends with 1 then.
set -u
cd "$(dirname "$0")/.." || exit 2
page=docs/behaviours.md

bad=0
names=$(grep -oE '`[a-z_0-9]+: [a-z_0-9]+`' "$page" | tr -d '`' | sort -u)
[ -n "$names" ] || { echo "$page: it names no tests" >&2; exit 1; }

while IFS=' ' read -r file name; do
    file=${file%:}
    case $name in y) continue ;; esac # how tests are named, at the head of the page
    case $file in
    *_test) path=test/unit/$file.c want="^TEST($name)" ;;
    *) path=test/e2e/test_$file.py want="^def $name(" ;;
    esac
    if ! grep -q "$want" "$path" 2>/dev/null; then
        echo "$page: there is no test $name in $path" >&2
        bad=1
    fi
done <<END
$names
END

# A row of a table ends with a test.
if grep -nE '^\| ([A-Z][0-9]+)? ?\|' "$page" | grep -vE '\| Behaviour \|' | grep -vE ': [a-z_0-9]+` \|$' >&2; then
    echo "$page: the rows above name no test" >&2
    bad=1
fi
exit $bad
