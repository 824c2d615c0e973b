"""Change and failure while traffic runs: rules, endpoints, the server, agents."""

import json

import pytest
from conftest import APP
from conftest import on_each_backend as m  # noqa: F401
from mesh import PATIENCE, wait_until
from test_routing import SUBSETS, to, virtual_service


def failed(seen):
    return seen["total"] - seen["statuses"].get("200", 0)


def under_way(host):
    """Is an application of this host asked for something now?"""
    return any(e["active"] for c in json.loads(host.page("/clusters")[1])["clusters"] for e in c["endpoints"])


def test_rules_change_without_a_failed_request(m, clean):
    m.apply(SUBSETS + virtual_service(f"- route:\n{to('v1')}"))
    load = m["client"].load("http://web:8080/", threads=4)
    load.wait_for(100)
    for i in range(6):
        m.apply(virtual_service(f"- route:\n{to('v2' if i % 2 == 0 else 'v1')}"))
        load.wait_for(100)
    seen = load.stop()
    assert failed(seen) == 0, seen["errors"]
    assert m["client"].http("http://web:8080/").json()["app"] == "web-v1"


def test_open_connections_follow_the_new_rule(m, clean):
    m.apply(SUBSETS + virtual_service(f"- route:\n{to('v1')}"))
    load = m["client"].load("http://web:8080/x", threads=1)  # one kept connection
    load.wait_for(20)
    m.apply(virtual_service(f"- route:\n{to('v2')}"))
    load.wait_for(20)
    assert set(load.stop()["apps"]) == {"web-v1", "web-v2"}


def test_a_long_answer_survives_a_change(m, clean):
    m.apply(SUBSETS + virtual_service(f"- route:\n{to('v1')}"))
    load = m["client"].load("http://web:8080/delay/1", threads=1)
    wait_until("a request is under way", lambda: under_way(m["web-v1"]))
    m.apply(virtual_service(f"- route:\n{to('v2')}"))
    load.wait_for(2)
    seen = load.stop()
    assert failed(seen) == 0 and set(seen["apps"]) == {"web-v1", "web-v2"}, seen


def test_a_new_instance_gets_traffic_and_a_stopped_one_none(m):
    load = m["client"].load("http://web:8080/", threads=2)
    load.wait_for(50)
    h = m.host("web-v3").service("web", 8080, protocol="http", version="v3").app("web", 8080, APP, NAME="web-v3")
    h.join()
    wait_until("the new instance answers", lambda: "web-v3" in load.seen()["apps"])
    assert h.agent.stop() == 0
    wait_until("its endpoint is withdrawn or passed over", lambda: not any(
        a.json()["app"] == "web-v3" for a in m["client"].many("http://web:8080/", 30, threads=1) if a.status == 200))
    h.apps["web"].kill()
    load.wait_for(50)
    seen = load.stop()
    assert failed(seen) == 0, seen["errors"]


def test_the_server_is_killed_and_traffic_goes_on(m):
    load = m["client"].load("http://web:8080/", threads=2)
    load.wait_for(50)
    m.server_process.kill()
    load.wait_for(200)
    seen = load.stop()
    assert failed(seen) == 0, seen["errors"]
    done = m.control.weft("status")
    assert done.returncode == 3 and "no server" in done.stderr
    m.start_server()
    wait_until("all agents are back", lambda: all(h.status()["link"]["connected"] for h in m.agents()))


def test_an_agent_restarted_without_server_serves_at_once(m, clean):
    m.apply(SUBSETS + virtual_service(f"- route:\n{to('v2')}"))
    wait_until("the rule is in force", lambda: m["client"].http("http://web:8080/").json()["app"] == "web-v2")
    saved = m["client"].state / "agent" / "state.json"
    wait_until("it is on disk", lambda: json.loads(saved.read_text())["revision"] == m.revision())
    m.server_process.kill()
    try:
        for name in ("client", "web-v2"):  # the caller and the called
            m[name].agent.kill()
            m[name].start_agent()
        answers = m["client"].many("http://web:8080/", 50)
    finally:
        m.start_server()
    assert {a.status for a in answers} == {200} and {a.json()["app"] for a in answers} == {"web-v2"}
    assert "spiffe://cluster.local/ns/default/sa/client" in answers[0].body
    wait_until("all agents are back", lambda: all(h.status()["link"]["connected"] for h in m.agents()))
    m.apply(virtual_service(f"- route:\n{to('v1')}"))
    assert m["client"].http("http://web:8080/").json()["app"] == "web-v1"


def test_a_damaged_cache_is_no_disaster(m):
    saved = m["web-v1"].state / "agent" / "state.json"
    m["web-v1"].agent.stop()
    saved.write_text("{ not json")
    m["web-v1"].start_agent()
    m.wait_service(m["client"], "http://web:8080/")
    assert {a.status for a in m["client"].many("http://web:8080/", 40)} == {200}


def test_an_agent_that_stops_lets_requests_end(m):
    call = m["client"].start("slow-call", "curl", "-sS", "--max-time", str(PATIENCE), "http://bank:8081/delay/1")
    wait_until("the request is under way", lambda: under_way(m["vault"]))
    assert m["vault"].agent.stop() == 0
    call.popen.wait(PATIENCE)
    assert '"path": "/delay/1"' in call.text()
    m["vault"].start_agent()
    m.wait_service(m["client"], "http://bank:8081/")


def test_status_shows_who_is_away(m):
    m["web-v2"].agent.stop()

    def away():
        done = m.control.weft("status")
        return done.returncode == 1 and done
    done = wait_until("status is red", away)
    assert "web-v2" in done.stdout
    m["web-v2"].start_agent()
    m["web-v3"].start_agent() if "web-v3" in m.hosts else None
    wait_until("status is green", lambda: m.control.weft("status").returncode == 0)
    done = m["web-v2"].weft("status")
    assert done.returncode == 0 and "serving     yes" in done.stdout


@pytest.mark.parametrize("times", [3])
def test_restarts_lose_no_revision(m, times):
    for i in range(times):
        m.apply(SUBSETS.replace("name: web", f"name: web{i}", 1), sync=False)
        want = m.revision()
        m.server_process.kill()
        m.start_server()
        assert m.revision() == want
    m.clear()
