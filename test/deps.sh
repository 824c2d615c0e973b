#!/bin/sh
# Installs what building and testing needs: Debian packages, and mbedTLS 3.6 built from Debian's source.
#
#   test/deps.sh [--system-mbedtls | --stock-mbedtls] DEPSDIR
#
# mbedTLS leaves AES-GCM and P-256 to pki/accel.c and goes to DEPSDIR/mbedtls-accel; with --stock-mbedtls it
# keeps its own and goes to DEPSDIR/mbedtls. Idempotent: says nothing and touches nothing when all is there. Root is needed only while a
# package is missing. The stamp of mbedTLS is written last: no stamp, not built.
# We build it although Debian 13 has a package, so that options and layout are the same everywhere.
set -eu

SUITE=trixie # its mbedtls source package is the 3.6 LTS branch
RECIPE=2     # raise to make every stamp stale

say() { echo "deps: $*" >&2; }
die() {
    say "$*"
    exit 1
}

system=
stock=
case ${1:-} in
--system-mbedtls) system=1 ;;
--stock-mbedtls) stock=1 ;;
esac
[ -z "$system$stock" ] || shift
[ $# -eq 1 ] || die "usage: test/deps.sh [--system-mbedtls | --stock-mbedtls] DEPSDIR"
here=$(cd "$(dirname "$0")/.." && pwd)
command -v apt-get >/dev/null || die "this needs Debian 12 or later (apt-get is not here)"
mkdir -p "$1"
deps=$(cd "$1" && pwd)
work=$(mktemp -d)
policy=
cleanup() {
    rm -rf "$work"
    [ -z "$policy" ] || rm -f "$policy"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# apt reads and checks as a user of its own, who may not be let into this machine's /tmp.
chmod 755 "$work"
mkdir -m 1777 "$work/tmp"
export TMPDIR="$work/tmp"

has() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
missing() {
    for p in "$@"; do
        has "$p" || printf '%s ' "$p"
    done
}

# Services of what we install must not start on a build machine.
hold_services() {
    [ -e /usr/sbin/policy-rc.d ] && return
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

updated=
install_missing() {
    want=$(missing "$@")
    [ -n "$want" ] || return 0
    [ "$(id -u)" = 0 ] ||
        die "these packages are missing: $want; run 'sudo make deps', or install them and repeat"
    if [ -z "$updated" ]; then
        say "reading package lists"
        # A third-party source that fails must not stop us: the install below is the judge.
        apt-get -q=2 update || say "apt-get update had problems; carrying on with the lists there are"
        updated=1
    fi
    say "installing $want"
    [ -n "$policy" ] || hold_services
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -q=2 -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install $want >"$deps/apt.log" 2>&1 || {
        tail -n 15 "$deps/apt.log" >&2
        die "apt-get could not install: $want; see $deps/apt.log, check the apt sources and the network, and repeat"
    }
}

packages="gcc libc6-dev make pkg-config clang cmake dpkg-dev debian-archive-keyring ca-certificates
    libevent-dev libsqlite3-dev libinih-dev libyaml-dev libnghttp2-dev libpcre2-dev libmnl-dev
    libnftables-dev nettle-dev libgmp-dev libcmocka-dev python3 python3-pytest python3-pytest-rerunfailures openssl sqlite3 curl iproute2 iputils-ping
    nghttp2-client nghttp2-server python3-h2 nftables iptables tcpdump procps util-linux mandoc systemd"
[ -z "$system" ] || packages="$packages libmbedtls-dev"
# shellcheck disable=SC2086
install_missing $packages

# Only the tests against peers of npm (gRPC, WebSocket) want it, and it brings hundreds of packages: without it they are
# skipped by name, but not by CI.
[ "${CI:-}" != true ] || command -v npm >/dev/null || install_missing nodejs npm

# So does varnishtest, a peer of test/vtc: its package brings a cache whose service must not run beside us.
[ "${CI:-}" != true ] || command -v varnishtest >/dev/null || install_missing varnish

# clang's sanitizer and fuzzer runtimes are a package of their own, named by version.
llvm=$(dpkg-query -W -f '${Depends}' clang | sed -n 's/.*clang-\([0-9]*\).*/\1/p')
[ -n "$llvm" ] || die "cannot tell the version of the clang package; is Debian's clang installed?"
install_missing "libclang-rt-$llvm-dev"

if [ -n "$system" ]; then
    version=$(dpkg-query -W -f '${Version}' libmbedtls-dev)
    dpkg --compare-versions "$version" ge 3.6 && exit 0
    die "the system's mbedTLS is $version, weft needs 3.6; run 'make deps' without SYSTEM_MBEDTLS=1"
fi

prefix=$deps/mbedtls-accel
[ -z "$stock" ] || prefix=$deps/mbedtls
mark="recipe $RECIPE $(dpkg --print-architecture) $(cksum <"$here/pki/gcm_alt.h")"
if [ -f "$prefix/stamp" ] && [ "$(sed -n 1p "$prefix/stamp")" = "$mark" ]; then
    exit 0
fi

# --- the source package, by apt with directories of its own ---
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -s "$keyring" ] || die "$keyring is missing; apt-get install debian-archive-keyring"

# Lines "SUITE-TO-USE URI" for the machine's own Debian mirrors.
mirrors() {
    # shellcheck disable=SC2016 # apt expands them
    apt-get indextargets --format '$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        sort -u | awk -F'|' -v suite="$SUITE" '
        $2 == "main" && $1 == "Debian" { print suite, $3 }
        $2 == "main" && $1 == "Debian-Security" { print suite "-security", $3 }' | sort -u
}
found=$(mirrors)
if ! echo "$found" | grep -q "^$SUITE " && [ -z "$updated" ] && [ "$(id -u)" = 0 ]; then
    say "reading package lists"
    apt-get -q=2 update || say "apt-get update had problems; carrying on with the lists there are"
    found=$(mirrors)
fi
echo "$found" | grep -q "^$SUITE " ||
    die "no Debian mirror found in the apt sources; add one to /etc/apt/sources.list, run 'apt-get update', and repeat"
echo "$found" | while read -r suite uri; do
    echo "deb-src [signed-by=$keyring] $uri $suite main"
done >"$work/sources.list"

private() {
    apt-get -q=2 -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Get::Only-Source=true "$@"
}
say "fetching mbedTLS's source package from Debian $SUITE"
private -o APT::Update::Error-Mode=any update >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "cannot read Debian $SUITE's source list; if a signature is the problem, upgrade debian-archive-keyring; otherwise check the network"
}
[ "$(id -u)" != 0 ] || chown _apt "$work/source" 2>/dev/null || true
(cd "$work/source" && private --download-only source mbedtls) >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "cannot fetch the source package mbedtls; check the network and repeat"
}
# apt has checked the files against the signed list, so dpkg-source need not.
(cd "$work/source" && dpkg-source --no-check -x mbedtls_*.dsc tree) >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "cannot unpack mbedTLS's source package (see above)"
}
tree=$work/source/tree
version=$(sed -n 's/^#define MBEDTLS_VERSION_STRING  *"\(.*\)"/\1/p' "$tree/include/mbedtls/build_info.h")
case $version in
3.6.*) ;;
*) die "Debian $SUITE has mbedTLS '$version', weft needs 3.6; raise SUITE or RECIPE in test/deps.sh" ;;
esac

# --- build ---
say "building mbedTLS $version, about 20 s on two cores"
# Into the header itself, because structures depend on it and weft must see the same.
configure() { # configure set|unset OPTION...
    verb=$1
    shift
    for option; do
        (cd "$tree" && python3 scripts/config.py "$verb" "$option") || die "cannot $verb $option in mbedTLS"
    done
}
configure set MBEDTLS_THREADING_C MBEDTLS_THREADING_PTHREAD
configure unset MBEDTLS_DEBUG_C # nobody listens, and each message costs a call
rm -rf "$prefix" "$prefix.new"
if [ -z "$stock" ]; then
    # What pki/accel.c has instead; its GCM is AES only, so ciphers that would want another go.
    configure set MBEDTLS_GCM_ALT MBEDTLS_ECDH_GEN_PUBLIC_ALT MBEDTLS_ECDH_COMPUTE_SHARED_ALT \
        MBEDTLS_ECDSA_SIGN_ALT MBEDTLS_ECDSA_VERIFY_ALT
    configure unset MBEDTLS_CAMELLIA_C MBEDTLS_ARIA_C
    mkdir -p "$prefix.new/include"
    cp "$here/pki/gcm_alt.h" "$prefix.new/include/"
fi
{
    cmake -S "$tree" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2" \
        -DCMAKE_C_FLAGS="-fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2 -I$prefix.new/include" \
        -DCMAKE_INSTALL_PREFIX="$prefix.new" -DCMAKE_INSTALL_LIBDIR=lib -DLIB_INSTALL_DIR=lib \
        -DENABLE_PROGRAMS=OFF -DENABLE_TESTING=OFF -DGEN_FILES=OFF \
        -DUSE_STATIC_MBEDTLS_LIBRARY=ON -DUSE_SHARED_MBEDTLS_LIBRARY=OFF -Wno-dev &&
        cmake --build "$work/build" -j "$(nproc)" &&
        cmake --install "$work/build"
} >"$deps/mbedtls.log" 2>&1 || {
    tail -n 30 "$deps/mbedtls.log" >&2
    die "mbedTLS $version did not build; see $deps/mbedtls.log"
}
for l in mbedtls mbedx509 mbedcrypto; do
    [ -s "$prefix.new/lib/lib$l.a" ] || die "the build made no lib$l.a; see $deps/mbedtls.log"
done
mv "$prefix.new" "$prefix"
printf '%s\nmbedTLS %s\n' "$mark" "$version" >"$prefix/stamp.new"
mv "$prefix/stamp.new" "$prefix/stamp"
say "mbedTLS $version is in $prefix"
