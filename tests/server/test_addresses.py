"""A client is known by its address, however it came and however that is typed. Told with owner, reader and officer."""

import socket

import pytest

from conftest import Server, commit

TYPED = ["127.0.0.1", "::ffff:127.0.0.1", "::FFFF:7f00:1", "0:0:0:0:0:ffff:127.0.0.1"]


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    """A server of both families, a reader who comes by IPv4, and one who comes by IPv6."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    # It listens to others from its second start on; that it runs as root is nothing that the test is about.
    server = Server(tmp_path_factory.mktemp("server"), '[server]\nmode = "local"\nhosts = ["127.0.0.1", "[::1]"]\n')
    server.owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(server.owner, "admin/llm", {"README.md": b"words"})
    server.four, server.six = (server.person(name, ("reader", "admin")) for name in ("four", "six"))
    server.officer = server.person("officer", ("security", None))
    server.stop()
    at = server.arguments.index("--listen") + 1
    server.arguments[at] = f"[::]:{server.port}"
    server.start()
    try:
        for person, host in ((server.four, "127.0.0.1"), (server.six, "[::1]")):
            server.url = f"https://{host}:{server.port}"
            assert person.http("GET", "/admin/llm/resolve/main/README.md").status == 200
        server.url = f"https://localhost:{server.port}"
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("typed", TYPED)
def test_a_client_of_ipv4_is_found_by_its_address_at_a_listener_of_both_families(dual, typed):
    found = dual.officer.strongroom("audit", "search", "--address", typed, "--principal", "four")["records"]
    assert found and {record["address"] for record in found} == {"127.0.0.1"}
    acts = dual.officer.strongroom("audit", "timeline", "--address", typed, "--principal", "four")["acts"]
    assert {act["address"] for act in acts} == {"127.0.0.1"}
    assert dual.officer.strongroom("audit", "search", "--address", typed, "--principal", "six")["records"] == []


@pytest.mark.parametrize("typed", TYPED)
def test_an_incident_of_an_address_has_what_was_read_from_there(dual, tmp_path, typed):
    found = dual.officer.strongroom("incident", "open", "--address", typed, "--since", "1h", "--out", tmp_path / "bundle.jsonl")
    assert found["subject"] == {"address": {"address": "127.0.0.1"}}
    assert [(each["path"], each["addresses"]) for each in found["read"]] == [("README.md", ["127.0.0.1"])]
    assert dual.four.token_id in {each.get("token") for each in found["could"]} and dual.six.token_id not in {each.get("token") for each in found["could"]}


def test_a_client_of_ipv6_keeps_its_own(dual):
    for typed in ("::1", "0:0:0:0:0:0:0:1"):
        found = dual.officer.strongroom("audit", "search", "--address", typed, "--principal", "six")["records"]
        assert found and {record["address"] for record in found} == {"::1"}


def test_what_is_no_address_is_refused_and_not_searched_for(dual):
    for typed in ("localhost", "127.0.0", "127.0.0.1/8", "10.0.0.5:443", "", "::ffff:300.0.0.1"):
        query = {"principal": None, "repo": None, "action": None, "outcome": None, "token": None, "partner": None, "share": None,
                 "address": typed, "compartment": None, "path": None, "request_id": None, "since_ms": None, "until_ms": None,
                 "before": None, "limit": 10}
        answer = dual.officer.http("POST", "/api/strongroom/v1/audit", {"AuditSearch": query})
        assert answer.status == 400 and "IPv4 or IPv6" in answer.json()["error"], (typed, answer.body)
        assert "IPv4 or IPv6" in dual.officer.strongroom("audit", "search", "--address", typed, fails=True).stderr
        assert "IPv4 or IPv6" in dual.officer.strongroom("incident", "open", "--address", typed, "--since", "1h", fails=True).stderr
