"""WebSocket by ws on both sides: through a gateway, through the mesh, and over HTTP/2 between agents."""

import json
import textwrap

import pytest
from mesh import Mesh, wait_until
from npm import ENV, NODE, node, npm_modules  # noqa: F401
from test_routing import virtual_service

GATEWAY = """apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8000, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: door}
spec:
  hosts: ["*"]
  gateways: [door]
  http:
  - route: [{destination: {host: web, port: {number: 9000}}}]
"""
UPGRADE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}
"""


@pytest.fixture(scope="module")
def m(npm_modules):  # noqa: F811
    with Mesh() as mesh:
        mesh.server()
        caller = mesh.host("caller").service("caller", 8080, protocol="http")
        edge = mesh.host("edge").service("edge", 0, kind="gateway", label_istio="ingressgateway")
        host = mesh.host("host").service("web", 9000, protocol="http")
        mesh.host("outside")
        node(host, "ws_peer.js", "serve", 9000, port=9000)
        for h in (host, caller, edge):
            h.join()
        mesh.wait_service(caller, "http://web:9000/")
        yield mesh


@pytest.fixture(scope="module", params=["gateway", "mesh", "mesh-h2"])
def way(request, m):
    """How to get to the application: (host that calls, address)."""
    if request.param == "mesh-h2":
        m.apply(UPGRADE)
    if request.param == "gateway":
        m.apply(GATEWAY)
        to = ("outside", f"{m['edge'].ip4}:8000")
        m.wait_service(m["outside"], f"http://{to[1]}/")
    else:
        to = ("caller", "web:9000")
    yield (*to, request.param)
    m.clear()


def talk(m, way, path="/", **wish):
    done = m[way[0]].run("node", NODE / "ws_peer.js", "call", f"ws://{way[1]}{path}", env=ENV, text=json.dumps(wish))
    assert done.returncode == 0 and done.stdout, done.stderr
    return json.loads(done.stdout)


def test_messages_pass_in_order(m, way):
    told = talk(m, way, f"/hello/{way[2]}", send=[f"m{i}" for i in range(50)], wait=51, headers={"x-mine": "me"},
                protocols=["chat", "other"])
    assert told["messages"] == ["hello me 1 1.1", *(f"m{i}" for i in range(50))]
    assert (told["code"], told["protocol"]) == (1000, "chat")
    log = m["host"].access_log
    line = wait_until("the line", lambda: [x for x in log.read_text().splitlines() if f"/hello/{way[2]} " in x])[-1]
    assert ("HTTP/2" if way[2] == "mesh-h2" else "HTTP/1.1") + '" 101 - ' in line, line


def test_large_messages_pass_whole(m, way):
    told = talk(m, way, send=[{"bytes": 3000000}, "do bytes 2500000"], wait=2)
    assert told["messages"] == [{"bytes": 3000000, "same": True}, {"bytes": 2500000, "same": True}]
    assert talk(m, way, send=["x" * 1000], wait=1, deflate=True)["messages"] == ["x" * 1000]


def test_pings_pass_both_ways(m, way):
    told = talk(m, way, send=["do ping theirs", {"ping": "ours"}], until_pong=True)
    assert told["pongs"] == ["ours"] and told["pings"] == ["theirs"]


def test_close_codes_pass_both_ways(m, way):
    told = talk(m, way, send=["do close 4321 enough"])  # the server closes first
    assert (told["code"], told["reason"]) == (4321, "enough")
    told = talk(m, way, send=["x", {"close": [4001, "mine"]}])
    assert (told["code"], told["reason"]) == (4001, "mine")


def test_an_end_without_a_close_is_one(m, way):
    assert talk(m, way, send=["do drop"])["code"] == 1006
    before = m["host"].access_log.read_text().count('"GET /gone ')
    assert talk(m, way, "/gone", send=["x"], wait=1, leave=True)["messages"] == ["x"]
    wait_until("it is noticed at the other end", lambda: m["host"].access_log.read_text().count('"GET /gone ') == before + 1)


@pytest.mark.parametrize("status", [400, 426, 503])
def test_a_refused_upgrade_stays_http(m, way, status):
    told = talk(m, way, f"/refuse/{status}")
    assert (told["status"], told["body"]) == (status, "no\n")


def test_the_rules_hold_for_upgrades(m, way):
    rules = ("  - match: [{uri: {prefix: /no}}]\n    directResponse: {status: 403, body: {string: not you}}\n"
             "  - match: [{uri: {prefix: /old}}]\n    rewrite: {uri: /hello}\n    route: [{destination: {host: web}}]\n")
    at_the_door = way[2] == "gateway"
    m.apply(GATEWAY[:GATEWAY.index("  - route")] + rules if at_the_door else virtual_service(textwrap.dedent(rules)))
    told = talk(m, way, "/no")
    assert (told["status"], told["body"]) == (403, "not you")
    assert talk(m, way, "/old", wait=1)["messages"] == ["hello  1 1.1"]
    assert talk(m, way, "/else")["status"] == 404
    m.apply(GATEWAY) if at_the_door else m.delete("virtualservice", "web")


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "HTTP/2.0", "h2c, websocket"])
def test_what_would_get_past_the_rules_is_never_passed_on(m, way, protocol):
    asked = (f"GET /x HTTP/1.1\r\nHost: {way[1]}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n"
             "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    host, port = way[1].rsplit(":", 1)
    code = ("import socket,sys\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])),30)\ns.sendall(sys.argv[3].encode())\n"
            "got=b''\nwhile not got.endswith(b'plain /x -') and (more:=s.recv(65536)): got+=more\nprint(got.decode())")
    done = m[way[0]].run("/usr/bin/python3", "-c", code, host, port, asked)
    assert done.stdout.startswith("HTTP/1.1 200 ") and done.stdout.endswith("plain /x -\n"), done.stdout + done.stderr
