#!/bin/sh
# test/layers.sh DIR... - which directory includes which. Prints "dir -> dir count" and ends with 1 after
# naming every line that includes upwards, or a library's header outside the one file it belongs to.
# The layers: cmd > proxy, store > pki > mesh > mesh/base (docs/architecture.md).
set -u
cd "$(dirname "$0")/.." || exit 2

files=$(for d in "$@"; do ls "$d"/*.[ch] 2>/dev/null; done)
[ -n "$files" ] || exit 0

# file names have no blanks: they are words here
grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' $files /dev/null | awk -F: '
# Layers that a directory may include, besides itself, as patterns of paths.
BEGIN {
    may["mesh/base"] = "^$"
    may["mesh/kinds"] = "^mesh/[^/]*$|^mesh/base/"
    may["mesh"] = "^mesh/(base|kinds)/"
    may["pki"] = "^mesh/base/|^mesh/identity[.]h$"
    may["store"] = "^mesh/"
    may["proxy/wire"] = "^pki/(creds|cert|crl|key|mbed)[.]h$|^mesh/base/|^mesh/identity[.]h$"
    may["proxy/filter"] = "^proxy/[^/]*$|^proxy/wire/|^pki/creds[.]h$|^mesh/"
    may["proxy"] = "^proxy/(wire|filter)/|^pki/creds[.]h$|^mesh/"
    may["cmd/server"] = "^cmd/[^/]*$|^store/|^pki/|^proxy/wire/|^mesh/"
    may["cmd/agent"] = "^cmd/[^/]*$|^proxy/|^pki/|^mesh/"
    may["cmd/ctl"] = "^cmd/[^/]*$|^proxy/wire/|^mesh/"
    may["cmd"] = "^cmd/|^proxy/wire/|^mesh/"

    # Headers of libraries, and the files that may see them.
    library["^event2/|^event[.]h$"] = "^mesh/base/loop[.]c$"
    library["^yaml[.]h$"] = "^mesh/base/yaml[.]c$"
    library["^ini[.]h$"] = "^mesh/base/ini[.]c$"
    library["^mbedtls/|^psa/"] = "^pki/|^proxy/wire/tls_(parts[.]h|lean[.]c)$|^mesh/base/hash[.]c$"
    library["^sqlite3[.]h$"] = "^store/sqlite(_[a-z]+)?[.][ch]$"
    library["^nghttp2/"] = "^proxy/wire/http2_parts[.]h$"
    library["^pcre2"] = "^mesh/match[.]c$"
    library["^libmnl/|^libnftnl/|^nftables/|^linux/netfilter/nf_?tables|^linux/(rt)?netlink[.]h$"] = \
        "^cmd/agent/capture_(nft|routes)[.]c$"
    library["^linux/netfilter"] = "^proxy/origdst[.]c$"
}

function folder(path) {
    sub(/\/[^\/]*$/, "", path)
    return path
}

function offend(why) {
    printf "%s:%s: %s: %s\n", file, $2, why, target > "/dev/stderr"
    bad = 1
}

function check_own() {
    to = folder(target)
    count[from " -> " to]++
    if (from == to)
        return
    if (!(from in may))
        offend("a directory that test/layers.sh does not know includes")
    else if (target !~ may[from])
        offend("an include against the layers")
}

function check_library(  pattern, found) {
    for (pattern in library) {
        if (target !~ pattern)
            continue
        found = 1
        if (file ~ library[pattern])
            return
    }
    if (found)
        offend("a library header outside its file")
}

{
    file = $1
    from = folder(file)
    target = $0
    own = target ~ /include[ \t]*"/
    sub(/^[^"<]*["<]/, "", target)
    sub(/[">].*$/, "", target)
    if (own)
        check_own()
    else
        check_library()
}

END {
    for (edge in count)
        printf "%-28s %d\n", edge, count[edge] | "sort"
    close("sort")
    exit bad
}'
