#!/bin/bash
# make fresh: the README's two commands, in newly made Debian roots that hold nothing but git and make.
#
#   FRESH="bookworm trixie" test/fresh.sh      which releases (both is the default); needs root and debootstrap
#
# What this shows and `make check` cannot: a package that deps.sh forgets, a tool that is only on the developer's machine,
# another release's compiler, libraries and python. Each root is unpacked from a tarball that is made once
# (build/fresh/SUITE.tar, remove it to make it anew), lives in mount and process namespaces of its own and is deleted at
# the end: whatever happens, no mount and no process stays. `make deps`, which both commands begin with, runs first and
# reaches nothing but the Debian mirrors, whose names alone resolve; then demo and check run without any network.
# A log per release: build/fresh/SUITE.log.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/build/fresh
LIMIT=${FRESH_LIMIT:-3600} # seconds for one release

die() {
    echo "fresh: $*" >&2
    exit 1
}

# Lines "SUITE HOST URI" of the machine's own Debian mirrors. The roots use the same ones.
mirror_of() { # LABEL
    # shellcheck disable=SC2016 # apt expands them
    apt-get indextargets --format '$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' -v label="$1" '$1 == label && $2 == "main" { print $3; exit }'
}

base() { # SUITE: makes its tarball
    local suite=$1 root=$cache/$1.base
    [ ! -s "$cache/$suite.tar" ] || return 0
    echo "fresh: $suite: making the base system, once"
    rm -rf "$root"
    debootstrap --variant=minbase --include=git,make "$suite" "$root" "$mirror" >"$cache/$suite.bootstrap.log" 2>&1 || {
        tail -n 20 "$cache/$suite.bootstrap.log" >&2
        die "debootstrap of $suite failed, see $cache/$suite.bootstrap.log"
    }
    {
        echo "deb $mirror $suite main"
        echo "deb $mirror $suite-updates main"
        [ -z "$security" ] || echo "deb $security $suite-security main"
    } >"$root/etc/apt/sources.list"
    rm -f "$root"/var/cache/apt/archives/*.deb
    tar -C "$root" -cf "$cache/$suite.tar.new" .
    mv "$cache/$suite.tar.new" "$cache/$suite.tar"
    rm -rf "$root"
}

# Runs as the first process of its namespaces. "/" of the root has to be a mount point, or nothing in it may be remounted.
inside() { # ROOT SUITE COMMAND
    local root=$1 suite=$2
    [ "$3" = "make deps" ] || ip link set lo up
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    if [ -d /sys/fs/cgroup ]; then
        mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
    fi
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs tmpfs "$root/tmp"
    mkdir -p "$cache/$suite.debs/partial"
    mount --bind "$cache/$suite.debs" "$root/var/cache/apt/archives"
    # apt would delete the packages after the install; kept, the next run need not fetch them.
    echo 'Binary::apt::APT::Keep-Downloaded-Packages "true"; APT::Keep-Downloaded-Packages "true";' \
        >"$root/etc/apt/apt.conf.d/keep"
    rm -f "$root/etc/apt/apt.conf.d/docker-clean"
    exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
        /bin/sh -c "cd /src && $3"
}

run() { # SUITE COMMAND
    local net=--net
    [ "$2" != "make deps" ] || net=
    nice timeout -k 30 "$LIMIT" unshare --mount --propagation private --pid --fork --kill-child $net "$0" --inside \
        "$cache/$1.root" "$1" "$2" </dev/null
}

release() { # SUITE
    local suite=$1 root=$cache/$1.root log=$cache/$1.log began=$SECONDS command
    base "$suite"
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    tar -C "$root" -xf "$cache/$suite.tar"
    : >"$root/etc/resolv.conf"
    {
        echo "127.0.0.1 localhost $(hostname)"
        for uri in "$mirror" "$security"; do
            host=${uri#*://}
            host=${host%%[/:]*}
            [ -z "$host" ] || getent ahosts "$host" | awk -v h="$host" '$2 == "STREAM" { print $1, h }'
        done
    } >"$root/etc/hosts"
    mkdir "$root/src"
    git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - 2>/dev/null |
        tar -C "$root/src" -xf -
    : >"$log"
    for command in "make deps" "make demo" "make check"; do
        began=$SECONDS
        printf 'fresh: %-9s %-11s ' "$suite" "$command"
        if ! run "$suite" "$command" >>"$log" 2>&1; then
            echo "FAILED, see $log"
            tail -n 40 "$log"
            rm -rf --one-file-system "$root"
            return 1
        fi
        if grep -n 'warning:' "$log"; then
            echo "FAILED: the compiler warns, see $log"
            return 1
        fi
        printf 'ok %4d s   %s\n' $((SECONDS - began)) "$(tail -n 1 "$log")"
    done
    rm -rf --one-file-system "$root"
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
fi
[ "$(id -u)" = 0 ] || die "needs root: it mounts and runs debootstrap"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
mkdir -p "$cache"
mirror=$(mirror_of Debian)
security=$(mirror_of Debian-Security)
[ -n "$mirror" ] || die "no Debian mirror found in the apt sources; add one and run apt-get update"
failed=
for suite in ${FRESH:-bookworm trixie}; do
    release "$suite" || failed="$failed $suite"
done
[ -z "$failed" ] || die "failed:$failed"
