"""Documents are applied all or none; what is wrong is told with file, line and column, exit code 4, and nothing is changed."""

import json
import re

import pytest

GOOD = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web
spec:
  host: web.default.svc.cluster.local
  subsets:
  - name: v1
    labels:
      version: v1
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: web
spec:
  hosts:
  - web.default.svc.cluster.local
  addresses:
  - 192.0.2.10
  ports:
  - number: 80
    name: http
    protocol: HTTP
  resolution: STATIC
  endpoints:
  - address: 192.0.2.11
"""

VS = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: bad
spec:
  hosts:
  - web.default.svc.cluster.local
  http:
  - route:
    - destination:
        host: web.default.svc.cluster.local
"""

# What, the document, the line where it is wrong, words of the message.
BAD = [
    ("unknown field", VS + "    timeut: 1s\n", 12, ["timeut", 'did you mean "timeout"']),
    ("unknown field deep down", VS + "        subst: v1\n", 12, ["subst", "subset"]),
    ("wrong type", VS + "    retries: 3\n", 12, ["retries"]),
    ("text where a number belongs", VS + "      weight: many\n", 12, ["weight"]),
    ("bad duration", VS + "    timeout: soon\n", 12, ["soon"]),
    ("weights of less than nothing", VS + "      weight: -1\n", 12, ["weight"]),
    ("unknown subset", VS + "        subset: v9\n", 12, ["v9"]),
    ("regular expression that is none", VS + "    match:\n    - uri:\n        regex: '(['\n", 14, ["regex"]),
    ("two matches in one", VS + "    match:\n    - uri:\n        exact: /a\n        prefix: /b\n", 15, ["exact", "prefix"]),
    ("field of a later issue", VS + "    retries:\n      attempts: 1\n      retryOn: http3-post-connect-failure\n", 14, ["http3-post-connect-failure", "not supported yet"]),
    ("key twice", VS + "    timeout: 1s\n    timeout: 2s\n", 13, ["timeout"]),
    ("not YAML", VS + "    timeout: [\n", None, []),
    ("no kind", "apiVersion: v1\nmetadata:\n  name: x\n", 1, ["kind"]),
    ("a kind of Kubernetes", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: x\nspec: {}\n", 2, ["Deployment"]),
    ("a kind mistyped", "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata:\n  name: x\n", 2, ["VirtualService"]),
    ("no name", VS.replace("  name: bad\n", "  namespace: default\n"), None, ["name"]),
    ("the same twice", VS + "---\n" + VS, None, ["VirtualService"]),
    ("no document", "# nothing here\n", None, ["no document"]),
    ("mode that is none", "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: x\nspec:\n  mtls:\n"
     "    mode: STRIKT\n", 7, ["STRIKT", "STRICT"]),
]


@pytest.fixture(scope="module")
def s(empty):
    empty.apply(GOOD)
    return empty


def objects(s):
    return {k: s.api("GET", f"/v1/{k}")[1]["items"] for k in ("virtualservice", "destinationrule", "serviceentry",
                                                                 "peerauthentication", "gateway")}


@pytest.mark.parametrize("what,text,line,words", BAD, ids=[b[0].replace(" ", "-") for b in BAD])
def test_refused_with_file_and_line(s, what, text, line, words):
    revision, before = s.revision(), objects(s)
    done = s.apply_raw(text, "rules.yaml")
    assert done.returncode == 4, f"{what}: {done.stdout}{done.stderr}"
    if line:
        assert re.search(rf"^rules\.yaml:{line}:\d+: ", done.stderr, re.M), done.stderr
    for w in words:
        assert w in done.stderr, done.stderr
    assert s.revision() == revision and objects(s) == before


def test_one_bad_document_spoils_the_whole_file(s):
    done = s.apply_raw(VS.replace("name: bad", "name: fine") + "---\n" + VS + "    timeut: 1s\n")
    assert done.returncode == 4 and "nothing was changed" in done.stderr
    assert s.api("GET", "/v1/namespaces/default/virtualservice/fine")[0] == 404


def test_every_problem_is_told_at_once(s):
    done = s.apply_raw(VS + "    timeut: 1s\n    retrees: {}\n    timeout: never\n", "rules.yaml")
    assert [int(n) for n in re.findall(r"^rules\.yaml:(\d+):", done.stderr, re.M)] == [12, 13, 14]
    assert "3 problems" in done.stderr


def test_a_destination_that_nobody_offers_yet_is_a_warning(s):
    done = s.apply_raw(VS.replace("host: web.default.svc.cluster.local", "host: nobody.default.svc.cluster.local"), "rules.yaml")
    assert done.returncode == 0 and re.search(r"rules\.yaml:11:\d+: .*nobody", done.stderr), done.stderr
    s.delete("virtualservice", "bad")


def test_apply_get_delete(s):
    done = s.apply_raw(VS + "    timeout: 7s\n")
    assert done.returncode == 0 and "created" in done.stdout, done.stderr
    revision = s.revision()
    again = s.apply_raw(VS + "    timeout: 7s\n")
    assert again.returncode == 0 and "unchanged" in again.stdout and s.revision() == revision
    changed = s.apply_raw(VS + "    timeout: 8s\n")
    assert "changed" in changed.stdout and s.revision() == revision + 1
    got = s.control.weft("get", "vs", "bad", "-o", "yaml")
    assert got.returncode == 0 and "timeout: 8s" in got.stdout
    assert s.apply_raw(got.stdout).returncode == 0, "what get prints can be applied"
    assert "bad" in s.control.weft("get", "virtualservices").stdout
    assert json.loads(s.control.weft("get", "vs", "bad", "-o", "json").stdout)["spec"]["http"][0]["timeout"] == "8s"
    gone = s.control.weft("delete", "vs/bad")
    assert gone.returncode == 0, gone.stderr
    assert s.control.weft("get", "vs", "bad").returncode == 7


def test_dry_run_changes_nothing(s):
    (s.control.dir / "d.yaml").write_text(VS)
    revision = s.revision()
    done = s.control.weft("apply", "-f", "d.yaml", "--dry-run")
    assert done.returncode == 0 and "created" in done.stdout
    assert s.revision() == revision and s.control.weft("get", "vs", "bad").returncode == 7
    (s.control.dir / "d.yaml").write_text(VS + "    timeut: 1s\n")
    assert s.control.weft("apply", "-f", "d.yaml", "--dry-run").returncode == 4


def test_a_folder_and_standard_input(s):
    d = s.control.dir / "rules"
    d.mkdir(exist_ok=True)
    (d / "a.yaml").write_text(VS.replace("name: bad", "name: a"))
    (d / "b.yml").write_text("# later\n" + VS.replace("name: bad", "name: b").replace("web.default", "other.default", 1))
    done = s.control.weft("apply", "-f", "rules")
    assert done.returncode == 0 and done.stdout.count("created") == 2, done.stderr
    (d / "b.yml").write_text("# a line\n" + VS + "    timeut: 1s\n")
    done = s.control.weft("apply", "-f", "rules")
    assert done.returncode == 4 and re.search(r"rules/b\.yml:13:\d+: ", done.stderr), done.stderr
    done = s.control.weft("delete", "vs/a")
    done = s.control.weft("delete", "vs/b")
    done = s.control.weft("apply", "-f", "-", text=VS)
    assert done.returncode == 0
    assert s.control.weft("delete", "-f", "-", text=VS).returncode == 0


def test_json_documents(s):
    doc = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "j"},
           "spec": {"hosts": ["web.default.svc.cluster.local"],
                    "http": [{"route": [{"destination": {"host": "web.default.svc.cluster.local"}}]}]}}
    assert s.apply_raw(json.dumps(doc, indent=1), "j.json").returncode == 0
    doc["spec"]["http"][0]["timeut"] = "1s"
    done = s.apply_raw(json.dumps(doc, indent=1), "j.json")
    assert done.returncode == 4 and re.search(r"j\.json:\d+:\d+: ", done.stderr), done.stderr
    s.delete("virtualservice", "j")


def test_a_referenced_document_is_not_deleted(s):
    assert s.apply_raw(VS + "        subset: v1\n").returncode == 0
    revision = s.revision()
    done = s.control.weft("delete", "dr/web")
    assert done.returncode == 4 and "v1" in done.stderr, done.stderr
    assert s.revision() == revision
    s.delete("virtualservice", "bad")


def test_somebody_else_was_faster(s):
    (s.control.dir / "e.yaml").write_text(VS)
    done = s.control.weft("apply", "-f", "e.yaml", "--expect-revision", str(s.revision() + 5))
    assert done.returncode == 5, done.stderr
    s.apply(VS)
    status, _ = s.api("PUT", "/v1/namespaces/default/virtualservice/bad", VS + "    timeout: 3s\n", {"If-Match": '"1"'})
    assert status == 412
    s.delete("virtualservice", "bad")


def test_problems_are_json_for_programs(s):
    status, answer = s.api("POST", "/v1/apply?file=x.yaml", VS + "    timeut: 1s\n")
    assert status == 422 and answer["status"] == 422
    e = answer["errors"][0]
    assert (e["file"], e["line"]) == ("x.yaml", 12) and e["column"] > 0 and e["code"].startswith("WEFT")
    assert "timeut" in e["detail"]


def test_a_mistyped_parameter_does_not_apply_for_real(s):
    revision = s.revision()
    assert s.api("POST", "/v1/apply?dryrun=true", VS)[0] == 400
    assert s.revision() == revision


def test_exit_codes_of_the_command_line(s):
    c = s.control
    assert c.weft("aply").returncode == 2
    done = c.weft("apply", "--fle", "x")
    assert done.returncode == 2 and "--file" in done.stderr
    assert c.weft("apply", "-f", "not-there.yaml").returncode in (3, 4, 7)
    assert c.weft("get", "vs", "-n", "nowhere", "x").returncode == 7
    done = c.weft("get", "vs", env={"WEFT_SOCKET": "/nonexistent/api.sock"})
    assert done.returncode == 3 and "weft server run" in done.stderr
    help_text = c.weft("help")
    assert help_text.returncode == 0 and "weft join TOKEN" in help_text.stdout
    for command in ("server init", "server run", "token create", "join", "agent run", "apply", "get", "delete", "status"):
        done = c.weft(*command.split(), "--help")
        assert done.returncode == 0 and "usage: weft " + command in done.stdout
    assert re.fullmatch(r"weft \d+\.\d+\.\d+\n", c.weft("version").stdout)


def test_only_root_and_the_group_may(s):
    (s.control.dir / "f.yaml").write_text(VS)
    from mesh import binary
    done = s.control.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", binary(), "apply", "-f",
                         s.control.dir / "f.yaml")
    assert done.returncode == 6 and "weft-admin" in done.stderr, done.stderr


def test_init_does_not_overwrite(s):
    done = s.control.weft("server", "init")
    assert done.returncode == 5 and "already" in done.stderr


def test_a_second_server_on_the_port_is_told(s):
    other = s.host("second")
    assert other.weft("server", "init").returncode == 0
    squatter = other.start("squatter", "/usr/bin/python3", "-c",
                           "import socket,time\ns=socket.create_server(('0.0.0.0',15012))\nprint('up',flush=True)\ntime.sleep(60)")
    from mesh import wait_until
    wait_until("the port is taken", lambda: "up" in squatter.text())
    done = other.weft("server", "run")
    squatter.kill()
    assert done.returncode != 0 and "15012" in done.stderr and "weft: " in done.stderr, done.stderr


def test_acknowledged_changes_survive_kill_9(s):
    s.apply(VS + "    timeout: 9s\n", sync=False)
    revision = s.revision()
    s.server_process.kill()
    s.start_server()
    assert s.revision() == revision
    assert "timeout: 9s" in s.control.weft("get", "vs", "bad", "-o", "yaml").stdout
    s.delete("virtualservice", "bad")


def test_what_means_nothing_here_is_passed_by_when_asked(empty, tmp_path):
    control, file = empty["control"], tmp_path / "cluster.yaml"
    own = GOOD.replace("name: web", "name: passed").replace("web.default", "passed.default")
    file.write_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\n" + own)
    refused = control.weft("apply", "-f", file)
    assert refused.returncode == 4 and "pass it by with --skip-kinds Deployment" in refused.stderr
    done = control.weft("apply", "-f", file, "--skip-kinds", "Deployment")
    assert done.returncode == 0 and "ServiceEntry/passed created" in done.stdout
    assert f"{file}:2:7: WEFT2001" in done.stderr and "Deployment web is passed by" in done.stderr
    gone = control.weft("delete", "-f", file, "--skip-kinds", "all")
    assert gone.returncode == 0 and "ServiceEntry/passed deleted" in gone.stdout
