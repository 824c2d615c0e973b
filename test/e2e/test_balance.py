"""Who answers: a key keeps to its endpoint, localities have their shares, and the near ones come first."""

import collections

import pytest
from conftest import APP, Mesh

RULE = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web
spec:
  host: web
  trafficPolicy:
    loadBalancer:
      consistentHash: {hash}
"""


def who(answer):
    assert answer.status == 200, answer
    return answer.json()["app"]


def test_a_header_keeps_to_its_endpoint_from_every_host(m, clean):
    m.apply(RULE.format(hash="{httpHeaderName: X-User}"))
    seen = {}
    for user in range(24):
        seen[user] = {who(a) for a in m["client"].many("http://web:8080/", 6, headers={"X-User": f"u{user}"})}
        assert len(seen[user]) == 1, (user, seen[user])
    assert {a for s in seen.values() for a in s} == {"web-v1", "web-v2"}
    for user in range(8):  # another agent has made its own ring
        assert {who(m["vault"].http("http://web:8080/", headers={"X-User": f"u{user}"}))} == seen[user]
    assert {who(a) for a in m["client"].many("http://web:8080/", 60)} == {"web-v1", "web-v2"}  # without the header


def test_a_cookie_is_made_and_keeps_to_its_endpoint(m, clean):
    m.apply(RULE.format(hash="{httpCookie: {name: stay, ttl: 60s, path: /}, maglev: {tableSize: 1009}}"))
    for _ in range(8):
        first = m["client"].http("http://web:8080/")
        made = first.headers["set-cookie"]
        assert made.endswith('"; Max-Age=60; Path=/; HttpOnly'), made
        pair = made.split(";")[0]
        assert pair.startswith('stay="')
        again = m["client"].many("http://web:8080/", 10, headers={"Cookie": pair})
        assert {who(a) for a in again} == {who(first)}
        assert not any("set-cookie" in a.headers for a in again)


@pytest.fixture(scope="module")
def far():
    """client in r1/z1; web in r1/z1, in r1/z2 and in r2."""
    with Mesh() as mesh:
        mesh.server()
        c = mesh.host("client")
        c.settings(locality="r1/z1")
        c.join()
        for name, place in (("near", "r1/z1"), ("next", "r1/z2/s1"), ("away", "r2/z1")):
            h = mesh.host(name).service("web", 8080, protocol="http")
            h.app("web", 8080, APP, NAME=name)
            h.settings(locality=place)
            h.join()
        mesh.wait_synced()
        mesh.wait_apps(c, "http://web:8080/", "near", "next", "away")
        yield mesh


LOCALITY = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web
spec:
  host: web
  trafficPolicy:
    loadBalancer:
      simple: ROUND_ROBIN
      localityLbSetting: {setting}
"""


def test_localities_of_hosts_get_the_shares_of_a_distribution(far):
    client = far["client"]
    assert {who(a) for a in client.many("http://web:8080/", 100)} == {"near", "next", "away"}
    far.apply(LOCALITY.format(setting="{distribute: [{from: 'r1/z1/*', to: {'r1/z1/*': 80, 'r2/*': 20}}]}"))
    seen = collections.Counter(who(a) for a in client.many("http://web:8080/", 400))
    assert set(seen) == {"near", "away"} and 70 <= seen["away"] <= 90, seen
    far.apply(LOCALITY.format(setting="{distribute: [{from: 'r1/*', to: {'r1/z2': 100}}]}"))
    assert {who(a) for a in client.many("http://web:8080/", 50)} == {"next"}
    far.clear()


def test_requests_stay_near_while_endpoints_there_are_well(far):
    client = far["client"]
    far.apply(LOCALITY.format(setting="{enabled: true}").rstrip() + """
    outlierDetection: {consecutive5xxErrors: 2, interval: 60s, baseEjectionTime: 60s, maxEjectionPercent: 100, minHealthPercent: 50}
""")
    assert {who(a) for a in client.many("http://web:8080/", 40)} == {"near"}
    for _ in range(2):
        assert client.http("http://web:8080/status/500").status == 500
    assert {who(a) for a in client.many("http://web:8080/", 40)} == {"next"}  # of the same region
    for _ in range(2):
        assert client.http("http://web:8080/status/500").status == 500
    assert {who(a) for a in client.many("http://web:8080/", 40)} == {"away"}  # who can take it all: no panic, though most are out
    for _ in range(2):
        assert client.http("http://web:8080/status/500").status == 500
    assert {who(a) for a in client.many("http://web:8080/", 100)} == {"near", "next", "away"}  # nobody is left: all are asked
    far.clear()
