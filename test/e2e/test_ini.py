"""Documents in INI: applied, shown and converted; what is wrong in them is told with file and line, as in YAML."""

import json
import re

import pytest

INI = """; one rule
[VirtualService web]
hosts = web.default.svc.cluster.local

[.http]
timeout = 2s
route.destination.host = web.default.svc.cluster.local

[.http.match]
uri.prefix = /a

[.http.match]
headers["x-user.name"].exact = "10"
"""

POLICY = "[AuthorizationPolicy nobody]\naction = DENY\n[.rules]\nto.operation.methods = GET\n"


@pytest.fixture(scope="module")
def s(empty):
    return empty


def test_applied_shown_and_applied_again(s):
    done = s.apply_raw(INI, "web.ini")
    assert done.returncode == 0 and "VirtualService/web created" in done.stdout, done.stderr
    spec = s.api("GET", "/v1/namespaces/default/virtualservices/web")[1]["spec"]
    assert spec["http"][0]["match"] == [{"uri": {"prefix": "/a"}}, {"headers": {"x-user.name": {"exact": "10"}}}]
    shown = s.control.weft("get", "vs", "web", "-o", "ini")
    assert shown.returncode == 0 and '\n[.http.match]\nheaders["x-user.name"].exact = 10\n' in shown.stdout, shown.stdout
    again = s.control.weft("apply", "-f", "-", text=shown.stdout)
    assert again.returncode == 0 and "nothing changed" in again.stdout, again.stdout + again.stderr
    assert s.control.weft("delete", "-f", "web.ini").returncode == 0


def test_refused_with_file_and_line(s):
    done = s.apply_raw(INI.replace("uri.prefix = /a", "uri.prefx = /a"), "web.ini")
    assert done.returncode == 4 and re.search(r'web\.ini:10:\d+: WEFT1203 .*prefx.*did you mean "prefix"', done.stderr), done.stderr
    done = s.apply_raw(INI.replace("[.http]", "[.htpp]"), "web.ini")
    assert done.returncode == 4 and re.search(r'web\.ini:5:1: .*did you mean "http"', done.stderr), done.stderr
    done = s.control.weft("lint", "-f", "-", text="[VirtualServise a]\nhosts = a\n")
    assert done.returncode == 4 and "(stdin):1:2:" in done.stderr, done.stderr


def test_a_folder_of_all_syntaxes(s):
    d = s.control.dir / "mixed"
    d.mkdir(exist_ok=True)
    (d / "a.ini").write_text("[Namespace a]\n")
    (d / "b.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n")
    (d / "c.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}')
    done = s.control.weft("convert", "-f", "mixed", "-o", "ini")
    assert done.stdout == "[Namespace a]\n\n[Namespace b]\n\n[Namespace c]\n", done.stderr
    assert s.control.weft("lint", "-f", "mixed").returncode == 0
    done = s.control.weft("apply", "-f", "mixed")
    assert done.returncode == 0 and done.stdout.count("created") == 3, done.stderr
    assert s.control.weft("delete", "-f", "mixed").returncode == 0


def test_convert_goes_round(s):
    yaml = s.control.weft("convert", "-f", "-", text=INI).stdout
    assert yaml.startswith("apiVersion: networking.istio.io/v1\nkind: VirtualService\n"), yaml
    as_json = s.control.weft("convert", "-f", "-", "-o", "json", text=yaml).stdout
    assert json.loads(as_json)["spec"]["http"][0]["timeout"] == "2s"
    ini = s.control.weft("convert", "-f", "-", "-o", "ini", text=as_json).stdout
    assert s.control.weft("convert", "-f", "-", text=ini).stdout == yaml


def test_convert_takes_what_is_not_supported_yet(s):
    done = s.control.weft("convert", "-f", "-", text=POLICY)
    assert done.returncode == 0 and "action: DENY" in done.stdout and "WEFT1601" not in done.stderr, done.stderr
    assert s.control.weft("lint", "-f", "-", text=POLICY).returncode == 4


def test_convert_prints_nothing_if_a_document_has_an_error(s):
    done = s.control.weft("convert", "-f", "-", text=INI + "[Namespace a]\nx = 1\n")
    assert done.returncode == 4 and done.stdout == "" and "(stdin):15:1: WEFT1203" in done.stderr, done.stderr
    assert s.control.weft("convert", "-f", "-", "-o", "toml", text=INI).returncode == 2
    done = s.control.weft("convert", "-f", "-", text="# nothing\n")
    assert done.returncode == 4 and "no document" in done.stderr


def test_only_documents_are_ini(s):
    done = s.control.weft("get", "hosts", "-o", "ini")
    assert done.returncode == 2 and "only documents" in done.stderr
