"""Applications that close idle connections, or are gone: what the serving agent makes of that for callers."""

import pytest
from conftest import HERE, Mesh


@pytest.fixture(scope="module")
def mesh():
    with Mesh() as m:
        m.server()
        m.host("client").join()
        m.host("web").service("web", 8080, protocol="http").app("web", 8080, HERE / "closing_app.py").join()
        m.wait_synced()
        m.wait_service(m["client"], "http://web:8080/")
        yield m


def test_callers_see_nothing_of_connections_that_are_closed(mesh):
    assert {a.status for a in mesh["client"].many("http://web:8080/", 400)} == {200}
    assert {mesh["client"].http("http://web:8080/", method="POST", body="abc").status for _ in range(30)} == {200}


def test_a_request_that_cannot_begin_is_tried_twice_more_at_its_host(mesh):
    web = mesh["web"]
    web.apps["web"].kill()
    try:
        before = web.metric("weft_retries_total")
        answer = mesh["client"].http("http://web:8080/", method="POST", body="abc")
        assert answer.status == 503
        assert web.metric("weft_retries_total") - before == 2
    finally:
        web.app("web", 8080, HERE / "closing_app.py")
