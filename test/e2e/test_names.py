"""Names: mesh names are answered with stable virtual addresses; everything else is passed on unchanged."""

import ipaddress

import pytest
from mesh import wait_until

FORMS = ["web", "WEB", "web.default", "web.default.svc", "web.default.svc.cluster.local", "web.mesh"]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_name_has_the_same_address(m, name):
    c = m["client"]
    found = c.resolve(name)
    assert found == c.resolve("web") and len(found) == 1
    assert ipaddress.ip_address(found[0]) in ipaddress.ip_network("240.240.0.0/16")


def test_ipv6_addresses_too(m):
    found = m["client"].resolve("web", 6)
    assert len(found) == 1 and ipaddress.ip_address(found[0]) in ipaddress.ip_network("2001:2::/48")


def test_all_hosts_agree(m):
    known = m["client"].resolve("bank")
    assert len(known) == 1
    for name in ("vault", "web-v1", "web-v2"):
        wait_until(f"{name} knows it", lambda name=name: m[name].resolve("bank"))
        assert m[name].resolve("bank") == known


def test_services_have_addresses_of_their_own(m):
    names = [tuple(m["client"].resolve(n)) for n in ("web", "bank", "safe", "client")]
    assert len(set(names)) == len(names)


def test_other_names_go_to_the_old_nameserver(m):
    c = m["client"]
    assert c.resolve("outside.test") == ["10.77.0.254"]
    assert c.resolve("nobody.test") == []
    assert m["outsider"].resolve("outside.test") == ["10.77.0.254"]
    assert m["outsider"].resolve("web") == []  # no member, no mesh names


def test_by_tcp_as_well(m):
    question = bytes.fromhex("abcd01000001000000000000") + b"\x03web\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01"
    other = bytes.fromhex("abce01000001000000000000") + b"\x07outside\x04test\0\0\x01\0\x01"
    for message, want in ((question, m["client"].resolve("web")[0]), (other, "10.77.0.254")):
        framed = len(message).to_bytes(2, "big") + message
        packed = ipaddress.ip_address(want).packed.decode("latin-1")
        answer = m["client"].tcp("10.77.0.254:53", send=framed.decode("latin-1"), until=packed)
        assert packed in answer["got"], answer


def test_questions_to_another_server_are_not_ours(m):
    question = bytes.fromhex("abcd01000001000000000000") + b"\x03web\0\0\x01\0\x01"
    framed = (len(question).to_bytes(2, "big") + question).decode("latin-1")
    for server in (m["vault"].ip4, "127.0.0.1"):  # neither is in resolv.conf, and nobody listens there
        assert m["client"].tcp(f"{server}:53", send=framed, timeout=3)["got"] == ""


def test_addresses_outlive_the_server(m):
    before = m["client"].resolve("web")
    m.server_process.stop()
    assert m["client"].resolve("web") == before
    m.start_server()
    m.wait_synced()
    assert m["client"].resolve("web") == before
