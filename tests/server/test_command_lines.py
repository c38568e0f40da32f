"""A command is understood as its documentation spells it, and as whoever is in a hurry does. Told with owner, officer and analyst."""

import pytest

from conftest import PROGRAM, commit


@pytest.fixture(scope="module")
def people(server, owner):
    owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(owner, "admin/llm", {"README.md": b"words"})
    made = type("People", (), {})()
    made.reader, made.officer = server.person("reader", ("reader", "admin")), server.person("officer", ("security", None))
    made.reader.http("GET", "/admin/llm/resolve/main/README.md")
    return made


@pytest.mark.parametrize("word", ["--user", "--principal"])
def test_a_principal_is_locked_by_either_word(people, word):
    people.officer.strongroom("lock", "add", word, "reader", "--reason", "laptop stolen")
    assert [lock["subject"] for lock in people.officer.strongroom("lock", "list")["locks"]] == ["user reader"]
    assert people.reader.http("GET", "/api/whoami-v2").status == 401
    people.officer.strongroom("lock", "remove", word, "reader")
    assert people.officer.strongroom("lock", "list")["locks"] == []
    assert people.reader.http("GET", "/api/whoami-v2").status == 200
    for verb in ("add", "remove"):
        both = people.officer.strongroom("lock", verb, word, "reader", "--token", "1", fails=True)
        assert both.returncode == 2, "a lock has one subject"


def test_what_somebody_did_is_asked_with_and_without_the_flag(people):
    told = people.officer.strongroom("audit", "what", "--principal", "reader")
    assert [read["path"] for read in told["did"]["read"]] == ["README.md"]
    assert people.officer.strongroom("audit", "what", "reader", "--since", "1h")["did"]["read"] == told["did"]["read"]
    token = ["--token", str(people.reader.token_id)]
    assert people.officer.strongroom("audit", "what", *token)["did"]["read"] == told["did"]["read"]
    for wrong in ([], ["reader", *token], ["--principal", "reader", *token], ["reader", "--principal", "reader"]):
        assert people.officer.strongroom("audit", "what", *wrong, fails=True).returncode == 2, wrong


def test_a_review_without_a_verb_is_its_list(people, owner):
    for more in ([], ["--user", "reader"], ["--repo", "admin/llm"], ["--stale", "90d"]):
        assert owner.strongroom("review", *more) == owner.strongroom("review", "list", *more), more
    assert owner.strongroom("review", "--repo", "admin/llm", "--type", "dataset", fails=True).returncode == 1, "there is none"
    assert {row["to"] for row in owner.strongroom("review", "--user", "reader")["given"]} == {"reader"}
    # For people too; and what is typed with a verb is the verb's.
    shown = owner.run([PROGRAM, "review", "--user", "reader"]).stdout
    assert shown == owner.run([PROGRAM, "review", "list", "--user", "reader"]).stdout and "role-" in shown
    assert owner.strongroom("review", "rounds")["rounds"] == []
    assert owner.strongroom("review", "--user", "reader", "rounds", fails=True).returncode == 2
    # The address of the server may come from either side of the list.
    server = ["--url", owner.server.url]
    assert owner.run([PROGRAM, "review", "list", *server]).stdout == owner.run([PROGRAM, "review", *server]).stdout
