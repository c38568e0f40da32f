"""The record of a share counts itself, so that nothing can be left out of it unseen; and a share is stopped as a whole. Told
with owner, partner, officer and analyst."""

import base64
import json
import os
import sqlite3
import threading
import time

import pytest

from conftest import Person, commit
from fleet import Fleet
from postgres import programs
from test_promises import SlowDownload
from test_shares import make, records, same, share
from weed import HAPROXY
from weed import PROGRAM as WEED

README = "/admin/llm/resolve/main/README.md"


@pytest.fixture(scope="module")
def repo(owner):
    return make(owner, "llm")[1]


@pytest.fixture(scope="module")
def analyst(server):
    return server.person("analyst", ("auditor", None))


@pytest.fixture(scope="module")
def officer(server):
    return server.person("officer", ("security", None))


def numbers(person, held):
    return [record["share_event"] for record in records(person, "--share", held.share_id)]


def settled(person, held, deliveries):
    until = time.monotonic() + 10
    while len(records(person, "--share", held.share_id, "--action", "object.deliver")) < deliveries:
        assert time.monotonic() < until


# The number


def test_each_record_about_a_share_has_the_next_number_of_that_share(server, owner, officer, analyst, repo):
    server.person("counted")
    one, other = (share(owner, f"admin/llm@{repo}", "counted") for _ in range(2))
    assert owner.strongroom("share", "show", one.share_id)["events"] == 2, "its making, and this"
    for _ in range(3):
        assert one.http("GET", README).status == 200 and other.http("GET", README).status == 200
    one.http("GET", "/admin/llm/resolve/main/model.safetensors")
    one.http("GET", "/api/models/admin/no-such")
    one.http("GET", "/api/models")
    owner.strongroom("share", "extend", one.share_id, "--expires", "3h")
    owner.strongroom("share", "extend", one.share_id, "--expires", "300days", fails=True)
    second = owner.strongroom("share", "token", one.share_id)
    officer.strongroom("lock", "add", "--share", one.share_id, "--reason", "why not")
    assert one.http("GET", README).status == 401
    officer.strongroom("lock", "remove", "--share", one.share_id)
    owner.strongroom("token", "revoke", second["token_id"])
    officer.strongroom("lock", "add", "--token", one.token_id)
    officer.strongroom("incident", "open", "--share", one.share_id, "--since", "1h", "--lock", "--out", server.folder / "counted.jsonl")
    owner.strongroom("share", "revoke", one.share_id)
    one.http("GET", README)
    settled(analyst, one, 3)
    settled(analyst, other, 3)
    found = records(analyst, "--share", one.share_id)
    # What was searched for by the share is all of it, each once, and in the order in which it was counted.
    assert [record["share_event"] for record in found] == list(range(len(found), 0, -1))
    actions = {record["action"] for record in found}
    assert actions >= {"share.create", "share.show", "share.extend", "share.token", "share.revoke", "lock.add", "lock.remove",
                       "token.revoke", "incident.open", "repo.read", "repo.list", "object.open", "object.deliver"}
    assert owner.strongroom("share", "show", one.share_id)["events"] == len(found) + 1
    # Another share of the same principal has numbers of its own, and what is about none has none.
    assert numbers(analyst, other) == list(range(len(records(analyst, "--share", other.share_id)), 0, -1))
    assert not any("share_event" in record for record in records(analyst) if "share" not in record)
    listed = {each["id"]: each["events"] for each in owner.strongroom("share", "list")["shares"]}
    assert listed[int(other.share_id)] == len(numbers(analyst, other))
    server.stop()
    server.start()
    before = owner.strongroom("share", "show", other.share_id)["events"]
    assert other.http("GET", README).status == 200
    settled(analyst, other, 4)
    assert numbers(analyst, other)[0] > before + 1 and sorted(numbers(analyst, other)) == list(range(1, len(numbers(analyst, other)) + 1))
    assert analyst.strongroom("audit", "verify")


def test_what_is_asked_for_at_once_has_no_number_twice_and_none_is_missing(server, owner, analyst, repo):
    server.person("hurried")
    held = [share(owner, f"admin/llm@{repo}", "hurried", "--max-downloads", "20") for _ in range(2)]
    ask = [threading.Thread(target=lambda one=one: [one.http("GET", README) for _ in range(6)]) for one in held for _ in range(5)]
    [each.start() for each in ask]
    [each.join() for each in ask]
    for one in held:
        settled(analyst, one, 20)
        found = numbers(analyst, one)
        # What was over the limit is counted as what was not.
        assert sorted(found) == list(range(1, len(found) + 1)) and len(found) > 50


# The lock


def test_a_locked_share_ends_its_downloads_within_a_second_and_no_token_of_it_works_until_it_is_unlocked(server, owner, officer, analyst):
    owner.http("POST", "/api/repos/create", {"name": "long", "organization": "admin"})
    commit(owner, "admin/long", {"long.md": os.urandom(12_000_000), "README.md": b"short"})
    plain = server.person("stopped", ("reader", "admin/llm"))
    held, other = (share(owner, "admin/long@main", "stopped") for _ in range(2))
    second = owner.strongroom("share", "token", held.share_id)
    both = [held, Person(server, second["token"], server.folder / "home-second")]
    read = lambda one: one.http("GET", "/admin/long/resolve/main/README.md")
    assert [read(one).status for one in both] == [200, 200]
    download = SlowDownload(held, "/admin/long/resolve/main/long.md")
    assert officer.strongroom("lock", "add", "--share", held.share_id, "--reason", "leak?")["locked"] == f"share {held.share_id}"
    time.sleep(1)
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < 12_000_000
    unknown = Person(server, "srt_" + "A" * 49, server.folder / "home-nobody")
    for one in both:
        same(read(one), read(unknown))
    assert "share locked" in owner.strongroom("share", "token", held.share_id, fails=True).stderr
    assert owner.strongroom("share", "show", held.share_id)["state"] == "share locked"
    assert {record["reason"] for record in records(analyst, "--share", held.share_id, "--action", "repo.read", "--outcome", "denied")} == {"share locked"}
    assert f"share {held.share_id}" in {each["subject"] for each in officer.strongroom("lock", "list")["locks"]}
    assert int(held.share_id) not in {each.get("share") for each in analyst.strongroom("audit", "who", "admin/long")["can"]}
    # Nothing else of the same partner, or of the repository, is stopped.
    assert read(other).status == 200 and plain.http("GET", README).status == 200
    server.stop()
    server.start()
    assert read(held).status == 401, "a lock outlives a restart"
    officer.strongroom("lock", "remove", "--share", held.share_id)
    assert [read(one).status for one in both] == [200, 200]
    third = owner.strongroom("share", "token", held.share_id)
    assert read(Person(server, third["token"], server.folder / "home-third")).status == 200


def test_only_whoever_may_lock_locks_a_share(server, owner, officer, repo):
    server.person("held")
    held = share(owner, f"admin/llm@{repo}", "held")
    for one in (held, server.person("an-owner", ("owner", "admin")), server.person("an-auditor", ("auditor", None))):
        one.strongroom("lock", "add", "--share", held.share_id, fails=True)
    assert held.http("GET", README).status == 200
    assert "no such share" in officer.strongroom("lock", "add", "--share", "4711", fails=True).stderr
    assert "not locked" in officer.strongroom("lock", "remove", "--share", held.share_id, fails=True).stderr
    assert officer.strongroom("lock", "add", "--share", held.share_id, "--user", "held", fails=True).returncode == 2


def test_an_incident_that_locks_a_share_stops_the_tokens_that_it_gets_later_too(server, owner, officer, repo):
    server.person("suspect")
    held = share(owner, f"admin/llm@{repo}", "suspect")
    found = officer.strongroom("incident", "open", "--share", held.share_id, "--since", "1h", "--lock", "--out", server.folder / "suspect.jsonl")
    assert found["locked"] == [f"share {held.share_id}"]
    assert held.http("GET", README).status == 401
    owner.strongroom("share", "token", held.share_id, fails=True)


# Several servers


def test_two_replicas_that_answer_for_one_share_at_once_count_it_together_without_gap(tmp_path_factory):
    if not (programs() and WEED.exists() and HAPROXY):
        pytest.skip("--without postgres, s3 or haproxy")
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        make(fleet.owner, "llm", {"README.md": b"words"})
        fleet.person("partner")
        held = share(fleet.owner, "admin/llm@main", "partner", compartments="docs")
        both = [fleet.at(held, server) for server in fleet.servers]
        ask = [threading.Thread(target=lambda one=one: [one.http("GET", README) for _ in range(15)]) for one in both for _ in range(3)]
        [each.start() for each in ask]
        [each.join() for each in ask]
        settled(fleet.owner, held, 90)
        found = records(fleet.owner, "--share", held.share_id)
        assert {record["log"] for record in found} == {1, 2}
        assert sorted(record["share_event"] for record in found) == list(range(1, len(found) + 1)) and len(found) > 200
        shown = [fleet.at(fleet.owner, server).strongroom("share", "show", held.share_id)["events"] for server in fleet.servers]
        assert shown == [len(found) + 1, len(found) + 2]
        # Locked on the one, it is on the other.
        fleet.at(fleet.owner, fleet.servers[0]).strongroom("lock", "add", "--share", held.share_id)
        until = time.monotonic() + 1
        while both[1].http("GET", README).status != 401:
            assert time.monotonic() < until
    finally:
        fleet.remove()


def test_a_partner_verifies_their_own_record_offline_and_learns_nothing_of_others(server, owner, repo, tmp_path):
    server.person("counting-partner")
    analyst = server.person("watching-analyst", ("security", None), ("auditor", None))
    held = share(owner, "admin/llm@main", "counting-partner")
    held.http("GET", "/admin/llm/resolve/main/README.md")
    held.http("GET", "/admin/llm/resolve/main/no-such-file")
    analyst.strongroom("lock", "add", "--share", held.share_id, "--reason", "a suspicion")
    assert held.http("GET", "/admin/llm/resolve/main/README.md").status == 401
    analyst.strongroom("lock", "remove", "--share", held.share_id)
    held.http("GET", "/admin/llm/resolve/main/config.json", headers={"Range": "bytes=0-3"})
    until = time.monotonic() + 10
    while len(records(owner, "--share", held.share_id, "--action", "object.deliver")) < 2:
        assert time.monotonic() < until
    first = tmp_path / "first.jsonl"
    got = held.strongroom("share", "record", "--out", first)
    assert got["verified"] and got["records"] == max(row["event"] for row in got["own"])
    acts = [(row["action"], row["outcome"], row["path"]) for row in got["own"]]
    for act in (("object.open", "allowed", "README.md"), ("object.absent", "absent", "no-such-file"), ("object.deliver", "done", "config.json")):
        assert act in acts
    assert acts[-1][0] == "share.record", "its own asking too"
    # What the owner and the analyst did has a number, and no more: neither who, nor what, nor when.
    assert got["yours"] < got["records"] and not any(word in first.read_text() for word in ("watching", "suspicion", "lock.add", "share.create"))
    opened = "".join(base64.b64decode(entry["own"][1]).decode(errors="replace")
                     for line in first.read_text().splitlines() for entry in json.loads(json.loads(line)["page"])["entries"] if entry["own"])
    assert "lock.add" not in opened and "share.create" not in opened
    # With an ordinary token of theirs, after the share's end too; what was there before must be there still.
    owner.strongroom("share", "revoke", held.share_id)
    partner = server.with_token("counting-partner")
    second = tmp_path / "second.jsonl"
    later = partner.strongroom("share", "record", held.share_id, "--out", second)
    assert later["records"] > got["records"] and later["key"] == got["key"]
    verify = ["share", "verify", second, "--key", got["key"], "--earlier", first]
    nobody = server.stranger()
    assert nobody.strongroom(*verify)["verified"]
    backwards = ["share", "verify", first, "--key", got["key"], "--earlier", second]
    assert "MISSING" in nobody.strongroom(*backwards, fails=True).stderr
    # One that is taken out, or changed by a byte, is missed.
    whole = [json.loads(line) for line in second.read_text().splitlines()]
    page = json.loads(whole[0]["page"])
    for spoiled in (json.dumps({**page, "entries": page["entries"][:2] + page["entries"][3:]}), whole[0]["page"].replace("a", "b", 1)):
        bad = tmp_path / "bad.jsonl"
        bad.write_text(json.dumps({**whole[0], "page": spoiled}) + "\n")
        assert "NOT verify" in nobody.strongroom("share", "verify", bad, "--key", got["key"], fails=True).stderr
    # Nobody else gets it: not another partner, not the owner, not the analyst.
    stranger = server.with_token("watching-analyst")
    for other in (owner, analyst, stranger):
        assert other.strongroom("share", "record", held.share_id, "--out", tmp_path / "no", fails=True).returncode == 1
    absent = stranger.strongroom("share", "record", 999_999, "--out", tmp_path / "no", fails=True)
    assert absent.stderr == stranger.strongroom("share", "record", held.share_id, "--out", tmp_path / "no", fails=True).stderr


def test_a_record_that_somebody_hides_in_the_database_is_found_by_the_partner(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    owner.http("POST", "/api/repos/create", {"name": "one", "organization": "admin"})
    commit(owner, "admin/one", {"README.md": b"words", "config.json": b"{}"})
    server.person("partner")
    held = share(owner, "admin/one@main", "partner")
    held.http("GET", "/admin/one/resolve/main/README.md")
    time.sleep(0.5)
    held.strongroom("share", "record", "--out", tmp_path / "whole")
    # No index finds it any more; but the tree over the log is another one then.
    with sqlite3.connect(server.data / "keeper" / "keeper.db", timeout=20) as database:
        hidden = database.execute("UPDATE audit_leaf SET token_index = zeroblob(16), repo_index = zeroblob(16) WHERE action = 'object.open'").rowcount
    assert hidden == 1
    wrong = held.strongroom("share", "record", "--out", tmp_path / "hidden", fails=True).stderr
    assert "NOT in the log" in wrong
