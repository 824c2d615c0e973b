"""What an installation puts in place: files, units, manual pages, completion."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from mesh import ROOT, binary

SHELLS = ("bash", "zsh", "fish")


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120, **more)


def weft(*argv):
    done = run(binary(), *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make(target, root, prefix):
    # The binary is there: neither compiler nor dependencies matter, and their folder may be elsewhere.
    done = run("make", "-s", "-C", ROOT, target, f"DESTDIR={root}", f"PREFIX={prefix}",
               env={**os.environ, "MAKEFLAGS": ""})
    assert done.returncode == 0, done.stdout + done.stderr


def files(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module", params=["/usr/local", "/usr"])
def tree(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    make("install", root, request.param)
    yield root, request.param
    make("uninstall", root, request.param)
    assert list(root.iterdir()) == [], "make uninstall left something"


def test_everything_is_in_place(tree):
    root, prefix = tree
    at = root / prefix.lstrip("/")
    have = files(at)
    want = {"bin/weft", "lib/systemd/system/weft-server.service", "lib/systemd/system/weft-agent.service",
            "lib/systemd/system/weft-guard.service", "lib/systemd/system/weft-guard.timer",
            "lib/systemd/system/weft-guard-boot.service", "lib/sysusers.d/weft.conf", "lib/tmpfiles.d/weft.conf", "share/bash-completion/completions/weft",
            "share/zsh/site-functions/_weft", "share/fish/vendor_completions.d/weft.fish", "share/man/man1/weft.1",
            "share/man/man1/weft-token-create.1",
            "share/man/man5/weft-agent.ini.5", "share/man/man5/weft-server.ini.5", "share/man/man5/weft-services.d.5",
            "share/doc/weft/docs/examples/strict.yaml", "share/doc/weft/LICENSE"}
    assert want <= have, want - have
    assert {f for f in have if os.access(at / f, os.X_OK) and (at / f).stat().st_mode & 0o111} == {"bin/weft"}
    for unit in (at / "lib/systemd/system").iterdir():
        assert unit.suffix == ".timer" or f"ExecStart={prefix}/bin/weft " in unit.read_text()
        assert "@" not in re.sub(r"%?@\w+-\w+|@\w+", "", unit.read_text())
    assert run(at / "bin/weft", "version").stdout.startswith("weft ")


def test_uninstall_leaves_what_is_not_ours(tmp_path):
    make("install", tmp_path, "/usr/local")
    other = tmp_path / "usr/local/share/man/man1/other.1"
    other.write_text("somebody else's")
    make("uninstall", tmp_path, "/usr/local")
    assert files(tmp_path) == {"usr/local/share/man/man1/other.1"}


def needs(tool):
    if not shutil.which(tool):
        pytest.fail(f"{tool} is missing: run make deps")


def test_units_are_well_formed_and_sandboxed(tree, tmp_path):
    needs("systemd-analyze")
    root, prefix = tree
    units = sorted((root / prefix.lstrip("/") / "lib/systemd/system").iterdir())
    assert {u.name for u in units} == {"weft-server.service", "weft-agent.service", "weft-guard.service", "weft-guard.timer",
                                        "weft-guard-boot.service"}
    for unit in units:
        # verify looks for the program and for the pages: give it the ones installed here
        (tmp_path / unit.name).write_text(
            unit.read_text().replace(f"{prefix}/bin/weft", binary()).replace("Documentation=", "#"))
    for unit in units:
        here = tmp_path / unit.name
        done = run("systemd-analyze", "verify", "--man=no", here)
        mine = [line for line in (done.stdout + done.stderr).splitlines() if "weft" in line]
        assert done.returncode == 0 and not mine, done.stdout + done.stderr
        if unit.suffix == ".timer":
            continue
        done = run("systemd-analyze", "security", "--offline=yes", "--no-pager", here)
        level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        assert level, done.stdout + done.stderr
        assert float(level[1]) <= 2.5, f"{unit.name}: {level[1]}\n{done.stdout}"


def test_account_and_folders_are_made(tree):
    needs("systemd-sysusers")
    root, prefix = tree
    lib = root / prefix.lstrip("/") / "lib"
    (root / "etc").mkdir(exist_ok=True)
    try:
        done = run("systemd-sysusers", f"--root={root}", lib / "sysusers.d/weft.conf")
        assert done.returncode == 0, done.stderr
        passwd = (root / "etc/passwd").read_text()
        assert re.search(r"^weft:x:\d+:\d+:weft service mesh:/var/lib/weft:/usr/sbin/nologin$", passwd, re.M), passwd
        groups = {line.split(":")[0] for line in (root / "etc/group").read_text().splitlines()}
        assert {"weft", "weft-admin", "weft-view"} <= groups
        done = run("systemd-tmpfiles", f"--root={root}", "--create", lib / "tmpfiles.d/weft.conf")
        assert done.returncode == 0, done.stderr
        uid = int(passwd.split("weft:x:")[1].split(":")[0])
        modes = {d: ((root / d).stat().st_mode & 0o777, (root / d).stat().st_uid)
                 for d in ("etc/weft/services.d", "var/lib/weft", "var/log/weft", "run/weft")}
        assert modes == {"etc/weft/services.d": (0o755, 0), "var/lib/weft": (0o700, uid),
                         "var/log/weft": (0o750, uid), "run/weft": (0o755, uid)}
    finally:
        for d in ("etc", "var", "run"):
            shutil.rmtree(root / d, ignore_errors=True)


# ---- manual pages ----

def commands():
    """Every command with its flags, as --help tells them."""
    found = {}
    for line in weft("help").splitlines():
        m = re.match(r"  ([a-z][a-z -]*?)\s{2,}\S", line)
        if m and not line.strip().startswith(("control#", "host#")):
            name = m[1]
            help_text = weft(*name.split(), "--help")
            found[name] = set(re.findall(r"^  (?:-\w|  )[, ] --([a-z-]+)", help_text, re.M))
    assert len(found) > 10 and "file" in found["apply"] and "uses" in found["token create"]
    return found


def test_a_page_for_every_command_with_every_flag(tmp_path):
    needs("mandoc")
    pages = weft("man").split()
    known = commands()
    assert {f"weft-{name.replace(' ', '-')}.1" for name in known} | {"weft.1"} <= set(pages)
    for page in pages:
        file = tmp_path / page
        file.write_text(weft("man", page))
        done = run("mandoc", "-Tlint", "-Wwarning", file)
        assert done.returncode == 0, done.stdout
    for name, flags in known.items():
        text = run("mandoc", "-Tutf8", tmp_path / f"weft-{name.replace(' ', '-')}.1").stdout
        plain = re.sub(r".\x08", "", text)
        assert not flags - set(re.findall(r"--([a-z-]+)", plain)), name
        assert f"weft-{name.replace(' ', '-')}(1)" in re.sub(r".\x08", "", run("mandoc", "-Tutf8", tmp_path / "weft.1").stdout)
    done = run(binary(), "man", "weft-nothing.1")
    assert (done.returncode, done.stdout) == (7, "") and "weft-nothing.1" in done.stderr


@pytest.mark.parametrize("page,table", [("weft-server.ini.5", "cmd/server/settings.c"),
                                        ("weft-agent.ini.5", "cmd/agent/settings.c"),
                                        ("weft-services.d.5", "cmd/agent/services.c")])
def test_a_page_for_every_settings_file_with_every_key(page, table, tmp_path):
    """The rows are read from the source: a key that is not on the page is one that nobody finds."""
    needs("mandoc")
    assert page in weft("man").split() and weft("man", page) == weft("man", page.removesuffix(".5"))
    rows = re.findall(r'(?m)^ *\{"(\w+)", FIELD_', (ROOT / table).read_text())
    assert len(rows) >= 8
    (tmp_path / page).write_text(weft("man", page))
    plain = re.sub(r".\x08", "", run("mandoc", "-Tutf8", "-Owidth=200", tmp_path / page).stdout)
    for key in rows:  # its name, a sentence, and what may stand there
        assert re.search(rf"(?m)^ {{5,10}}{key}(?:\.KEY)?\s+(\S.*)\n\s+(Value: \S|Refused, not supported yet: )", plain), (key, plain)


def test_a_page_tells_bounds_defaults_and_choices(tmp_path):
    needs("mandoc")

    def shown(page):
        (tmp_path / page).write_text(weft("man", page))
        return re.sub(r"\s+", " ", re.sub(r".\x08", "", run("mandoc", "-Tutf8", tmp_path / page).stdout))

    agent, server, services = (shown(f"weft-{p}.5") for p in ("agent.ini", "server.ini", "services.d"))
    assert "Value: a whole number, not negative, from 1 to 64. Default: 2." in agent
    assert "nftables, iptables or off. Default: auto." in agent
    assert "Value: IP:PORT, or off. Default: 127.0.0.1:15000." in agent
    assert "from 1m to 2160h. Default: 72h." in server and "Value: IP:PORT. Required." in server
    assert "SECTION [gateway NAME]" in services and "SECTION [listener NAME]" in services and "label.KEY" in services


# ---- completion ----

def complete(*words):
    return [line.split("\t")[0] for line in weft("complete", "--", *words).splitlines()]


def test_completion_knows_every_command_and_flag():
    for name, flags in commands().items():
        words = name.split()
        for i, word in enumerate(words):
            assert complete(*words[:i], "").count(word) == 1, name
        offered = complete(*words, "--")
        assert {f"--{f}" for f in flags} | {"--help"} == set(offered), name
        assert len(offered) == len(set(offered))
    assert "complete" not in complete("")


@pytest.mark.parametrize("words,want", [
    (("get", ""), "virtualservices"),
    (("get", ""), "hosts"),
    (("get", "vs", "-o", ""), "yaml"),
    (("get", "vs", "--output", "=", ""), "yaml"),  # as bash splits --output=
    (("get", "vs", "--output", "="), "yaml"),
    (("delete", ""), "virtualservices/"),
    (("apply", "-f", ""), ":files"),
    (("completion", ""), "fish"),
    (("man", ""), "weft-apply.1"),
    (("help", "token", ""), "revoke"),
    (("help", ""), "apply"),
])
def test_completion_of_values(words, want):
    assert want in complete(*words)


def test_names_come_from_the_server(empty):
    empty.apply("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop-api, namespace: shop}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC,
       endpoints: [{address: 10.9.9.9}]}
""")
    try:
        control = empty["control"]

        def asked(*words):
            done = control.weft("complete", "--", *words)
            return [line.split("\t")[0] for line in done.stdout.splitlines()]

        assert asked("get", "se", "-n", "shop", "") == ["shop-api"]
        assert asked("delete", "-n", "shop", "se/") == ["se/shop-api"]
        assert asked("get", "se", "") == []
        empty.token()
        tokens = control.weft("token", "list", "-o", "name").stdout.split()
        assert tokens and sorted(asked("token", "revoke", "")) == sorted(tokens)
    finally:
        empty.clear()


def in_bash(line):
    """What bash offers at the end of the line."""
    words = line.split(" ")
    script = f"""
PATH={pathlib.Path(binary()).parent}:$PATH
. <(weft completion bash)
compopt() {{ :; }}   # only within a real completion
COMP_WORDS=({' '.join(f"'{w}'" for w in words)})
COMP_CWORD={len(words) - 1}
_weft
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = run("bash", "--norc", "-euc", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_offers_what_fits_the_word(tmp_path):
    assert in_bash("weft tok") == ["token"]
    assert in_bash("weft token ") == ["create", "list", "revoke"]
    assert in_bash("weft get -o ya") == ["yaml"]
    assert in_bash("weft apply --dr") == ["--dry-run"]
    (tmp_path / "rules.yaml").write_text("")
    assert in_bash(f"weft apply -f {tmp_path}/ru") == [f"{tmp_path}/rules.yaml"]


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_valid(shell, tmp_path):
    script = tmp_path / shell
    script.write_text(weft("completion", shell))
    if shutil.which(shell):
        done = run(shell, "-n", script)
        assert done.returncode == 0, done.stderr
    assert "weft complete -- " in script.read_text()
