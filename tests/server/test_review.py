"""Access reviews: what was given, by whom, and when it was of use; confirmed or taken by those who answer for it, and what nobody
confirms lapses. Told with administrators, two owners, reader, partner and analyst."""

import os
import re
import time
from datetime import datetime

import pytest

from conftest import PROGRAM, Person, Server, commit, policies
from fleet import fleet_with
from test_partners import readable
from test_promises import SlowDownload
from test_shares import records

SIZE = 12_000_000


def house(server, namespace="acme"):
    """A namespace with a repository, its owner, a reader and a writer; gives the people."""
    people = {
        "anna": server.person(f"{namespace}-anna", ("owner", namespace)),
        "bert": server.person(f"{namespace}-bert", ("owner", namespace)),
        "reader": server.person(f"{namespace}-reader", ("reader", namespace)),
        "idle": server.person(f"{namespace}-idle", ("reader", namespace)),
    }
    assert people["anna"].http("POST", "/api/repos/create", {"name": "llm", "organization": namespace}).status == 200
    commit(people["anna"], f"{namespace}/llm", {"README.md": b"words", "long.md": os.urandom(SIZE), "w.safetensors": b"w" * 100})
    return people


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    made = Server(folder, policies(folder / "policies", share=[]))
    made.second()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def acme(server):
    return house(server)


@pytest.fixture(scope="module")
def analyst(server):
    return server.person("analyst", ("auditor", None))


def given(person, *arguments):
    return person.strongroom("review", "list", *arguments)["given"]


def the(person, kind, to, what=None, **more):
    found = [row for row in given(person) if row["kind"] == kind and row["to"] == to and what in (None, row["what"])]
    assert len(found) == 1, (found, given(person))
    return found[0]


def moment(text):
    return datetime.fromisoformat(text).timestamp()


def read(person, namespace="acme"):
    return person.http("GET", f"/{namespace}/llm/resolve/main/README.md").status


# The list


def test_the_list_says_what_was_given_to_whom_by_whom_when_and_when_it_was_of_use(server, owner, acme):
    anna = acme["anna"]
    assert read(acme["reader"]) == 200
    owner.strongroom("access", "disclose", "acme/llm", "--to", "acme-idle", fails=True)
    anna.strongroom("access", "disclose", "acme/llm", "--to", "acme-idle")
    server.person("firm-man")
    made = anna.strongroom("share", "create", "acme/llm@main", "--to", "firm-man", "--compartments", "docs", "--expires", "1h")
    rows = {(row["kind"], row["to"], row["what"]): row for row in given(anna)}
    assert set(rows) == {
        ("role", "acme-anna", "owner"), ("role", "acme-bert", "owner"), ("role", "acme-reader", "reader"), ("role", "acme-idle", "reader"),
        ("line", "acme-idle", "repo.ask"), ("share", "firm-man", "docs"),
    }
    role = rows["role", "acme-reader", "reader"]
    assert role["place"] == "namespace acme" and role["by"] == "admin" and time.time() - moment(role["given"]) < 120
    # To the day.
    assert role["last_used"][:10] == rows["role", "acme-anna", "owner"]["last_used"][:10] and role["last_used"].endswith("T00:00:00.000Z")
    assert rows["role", "acme-idle", "reader"]["last_used"] is None
    second_owner = rows["role", "acme-bert", "owner"]
    assert (second_owner["by"], second_owner["agreed_by"]) == ("admin", "steward"), "what needed two was given by two"
    assert rows["line", "acme-idle", "repo.ask"]["by"] == "acme-anna"
    assert rows["share", "firm-man", "docs"]["by"] == "acme-anna" and rows["share", "firm-man", "docs"]["last_used"] is None
    held = Person(server, made["token"], server.folder / "home-firm-man")
    assert read(held) == 200
    assert the(anna, "share", "firm-man")["last_used"]
    # What was of no use for long, or to one person.
    assert {row["to"] for row in given(anna, "--stale", "90d")} >= {"acme-idle"} and not {"acme-reader", "firm-man"} & {row["to"] for row in given(anna, "--stale", "90d")}
    assert {row["kind"] for row in given(anna, "--user", "acme-idle")} == {"role", "line"}
    assert {row["kind"] for row in given(anna, "--repo", "acme/llm")} == {"line", "share"}
    # Who answers for everything sees tokens too, and when each was used.
    assert the(owner, "token", "acme-reader")["last_used"] and the(owner, "role", "admin", "admin")["by"] is None
    anna.strongroom("share", "revoke", str(made["id"]))
    assert not [row for row in given(anna) if row["kind"] == "share"], "what is over is not asked about"


def test_it_is_written_once_a_day_and_not_at_every_reading(server, owner, acme):
    """The note of use is a row for each principal and repository, and no reading changes it again on the same day."""
    import sqlite3

    if not (server.data / "keeper" / "keeper.db").exists():
        pytest.skip("the database is not a file")
    database = lambda: sqlite3.connect(server.data / "keeper" / "keeper.db", timeout=20)
    rows = lambda: database().execute("SELECT principal, repo, day FROM used ORDER BY 1, 2").fetchall()
    assert read(acme["reader"]) == 200
    before = rows()
    # Whoever would write it again, if only the same, is seen.
    with database() as writes:
        writes.execute("CREATE TABLE seen (id BIGINT)")
        writes.execute("CREATE TRIGGER sees BEFORE INSERT ON used BEGIN INSERT INTO seen VALUES (NEW.principal); END")
    for _ in range(20):
        assert read(acme["reader"]) == 200
    assert rows() == before and all(day == int(time.time() // 86400) for *_, day in before)
    with database() as writes:
        assert writes.execute("SELECT * FROM seen").fetchall() == []
        writes.execute("DROP TRIGGER sees")
        writes.execute("DROP TABLE seen")
    # It outlives a restart.
    used = the(acme["anna"], "role", "acme-reader")["last_used"]
    server.stop()
    server.start()
    assert the(acme["anna"], "role", "acme-reader")["last_used"] == used


def test_nobody_sees_or_decides_what_is_given_at_a_place_that_they_do_not_answer_for(server, owner, acme):
    other = house(server, "elsewhere")
    assert {row["place"] for row in given(other["anna"])} == {"namespace elsewhere"}
    there = the(acme["anna"], "role", "acme-reader")["id"]
    missing = re.sub(r"^role-\d+", "role-99999", there)
    system = the(owner, "role", "admin", "admin")["id"]
    for person in (other["anna"], acme["reader"], server.person("nobody"), server.person("maintains", ("maintainer", "acme"))):
        for verb in ("confirm", "revoke"):
            hidden, absent = (person.strongroom("review", verb, one, fails=True).stderr.replace(one, "ID") for one in (there, missing))
            assert hidden == absent
        assert person.strongroom("review", "revoke", system, fails=True).returncode == 1
        hidden, absent = (person.strongroom("review", "start", "--namespace", one, "--within", "1h", fails=True).stderr for one in ("acme", "no-such"))
        assert hidden == absent
        hidden, absent = (person.strongroom("review", "list", "--repo", one, fails=True).stderr for one in ("acme/llm", "acme/no-such"))
        assert hidden == absent
        person.strongroom("review", "start", "--system", "--within", "1h", fails=True)
    assert given(acme["reader"]) == [] == given(server.with_token("nobody"))
    assert read(acme["reader"]) == 200
    # An owner decides on no role everywhere, and drives no other owner out.
    assert acme["anna"].strongroom("review", "revoke", system, fails=True).returncode == 1
    assert "role.manage" in acme["anna"].strongroom("review", "revoke", the(acme["anna"], "role", "acme-bert")["id"], fails=True).stderr
    for wrong in ("role-1", "role-1-king-system-0", "share-x", "token--1"):
        assert acme["anna"].run([PROGRAM, "review", "revoke", wrong], fails=True).returncode == 2


def test_what_is_taken_in_a_review_is_gone_at_once_and_what_is_confirmed_says_by_whom(server, owner, acme, analyst):
    anna, bert = acme["anna"], acme["bert"]
    victim = server.person("to-be-taken", ("reader", "acme"))
    download = SlowDownload(victim, "/acme/llm/resolve/main/long.md")
    row = the(anna, "role", "to-be-taken")
    anna.strongroom("review", "revoke", row["id"], "--reason", "left the team")
    time.sleep(1)
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < SIZE and read(victim) == 404
    found = records(analyst, "--action", "review.revoke", "--outcome", "allowed")[0]
    assert found["principal"] == "acme-anna" and found["reason"] == "left the team" and row["id"] in found["subject"]
    assert found["effects"][0]["unassign"]["role"] == "reader"
    # Confirmed by the other owner; nobody says so of what is their own, nor with a token that they have held.
    mine = the(anna, "role", "acme-anna")["id"]
    assert "given to them" in anna.strongroom("review", "confirm", mine, fails=True).stderr
    bert.strongroom("review", "confirm", mine, "--reason", "still here")
    assert (the(anna, "role", "acme-anna")["confirmed_by"], the(bert, "role", "acme-anna")["confirmed"] is not None) == ("acme-bert", True)
    own = the(owner, "role", "admin", "admin")["id"]
    seen = server.with_token("acme-bert")  # made, and so seen, by the first administrator
    assert "held" in owner.strongroom("review", "confirm", own, fails=True).stderr
    del seen
    server.second().strongroom("review", "confirm", own)
    token, share = the(owner, "token", "acme-idle")["id"], None
    owner.strongroom("review", "revoke", token)
    assert read(acme["idle"]) == 401 and share is None
    acme["idle"] = server.with_token("acme-idle")
    assert read(acme["idle"]) == 200


# Rounds


def test_what_nobody_confirms_lapses_at_the_deadline_with_downloads_under_way_and_what_is_confirmed_stays(server, owner, analyst):
    people = house(server, "round")
    anna, bert = people["anna"], people["bert"]
    server.person("round-partner")
    made = anna.strongroom("share", "create", "round/llm@main", "--to", "round-partner", "--compartments", "docs", "--expires", "1h")
    held = Person(server, made["token"], server.folder / "home-round-partner")
    own = server.person("round-line")
    server.agreed("role", "allow", "round-line", "repo.read", "--compartment", "docs", "--repo", "round/llm")
    assert [read(one, "round") for one in (people["reader"], people["idle"], held, own)] == [200] * 4
    started = anna.strongroom("review", "start", "--namespace", "round", "--within", "8s")
    deadline = moment(started["deadline"])
    assert started["given"] == 6 == started["waits"]
    assert the(anna, "role", "round-reader")["lapses"] == started["deadline"]
    # The owners for each other, and the reader; not the idle one, the line and the share.
    bert.strongroom("review", "confirm", the(bert, "role", "round-anna")["id"])
    anna.strongroom("review", "confirm", the(anna, "role", "round-bert")["id"], the(anna, "role", "round-reader")["id"])
    assert the(anna, "role", "round-reader")["lapses"] is None and anna.strongroom("review", "show", str(started["id"]))["waits"] == 3
    # What is given after it began is not of it.
    server.person("round-late", ("reader", "round"))
    late = server.with_token("round-late")
    time.sleep(max(0, deadline - 1.5 - time.time()))
    assert time.time() < deadline - 0.5, "too slow a machine for this test"
    lapsing = [SlowDownload(one, "/round/llm/resolve/main/long.md") for one in (people["idle"], held, own)]
    staying = SlowDownload(people["reader"], "/round/llm/resolve/main/long.md")
    time.sleep(max(0, deadline - 0.3 - time.time()))
    assert all(one.bytes > 0 and one.is_alive() for one in lapsing)
    time.sleep(max(0, deadline - time.time()))
    assert [read(one, "round") for one in (people["idle"], held, own, people["reader"], late)] == [404, 401, 404, 200, 200], "from that moment"
    time.sleep(max(0, deadline + 1 - time.time()))
    arrived, moved = [one.bytes for one in lapsing], staying.bytes
    time.sleep(1)
    assert arrived == [one.bytes for one in lapsing] and max(arrived) < SIZE
    assert staying.bytes > moved or staying.bytes >= SIZE
    shown = anna.strongroom("review", "show", str(started["id"]))
    assert shown["state"] == "over" and {row["kind"] for row in shown["lapsed_list"]} == {"role", "line", "share"} and shown["kept_list"] == []
    found = records(analyst, "--action", "review.lapse")
    mine = [record for record in found if record["subject"] == f"review {started['id']}"]
    assert len(mine) == 1 and "1 lines, 1 roles, 1 shares" in mine[0]["reason"] and len(mine[0]["effects"]) == 3
    server.stop()
    server.start()
    assert [read(one, "round") for one in (people["idle"], held, people["reader"])] == [404, 401, 200]
    assert len([record for record in records(analyst, "--action", "review.lapse") if record["subject"] == f"review {started['id']}"]) == 1


def test_nobody_steps_out_of_a_round_by_claiming_another_token(tmp_path):
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", policies(tmp_path / "policies", share=[]))
    try:
        server.second()
        claim = lambda person: Person(server, person.strongroom("token", "claim")["token"], person.home.parent / f"{person.home.name}-own")
        alive = lambda person: person.http("GET", "/api/whoami-v2").status
        idle, steady = claim(server.person("idle")), claim(server.person("steady"))
        started = server.owner.strongroom("review", "start", "--system", "--within", "6s")
        server.owner.strongroom("review", "confirm", the(server.owner, "token", "steady")["id"])
        again = [claim(idle), claim(steady)]
        assert [alive(one) for one in again] == [200, 200] and [alive(idle), alive(steady)] == [401, 401]
        assert the(server.owner, "token", "idle")["lapses"] == started["deadline"] and the(server.owner, "token", "idle")["by"] == "admin"
        time.sleep(max(0, moment(started["deadline"]) - time.time()) + 0.2)
        assert [alive(one) for one in again] == [401, 200], "what was confirmed stays, and what was not has no other name"
    finally:
        server.stop()


def test_a_deadline_that_passes_while_the_server_is_down_is_kept_when_it_comes_back(server, owner):
    people = house(server, "asleep")
    started = people["anna"].strongroom("review", "start", "--namespace", "asleep", "--within", "3s")
    people["anna"].strongroom("review", "confirm", the(people["anna"], "role", "asleep-bert")["id"])
    server.stop()
    time.sleep(max(0, moment(started["deadline"]) - time.time()))
    server.start()
    assert read(people["reader"], "asleep") == 404, "the first question after it"
    assert people["bert"].strongroom("review", "show", str(started["id"]))["lapsed"] == 3


def test_the_last_owner_of_a_namespace_stays_and_it_is_said(server, owner, analyst):
    people = house(server, "lonely")
    started = people["anna"].strongroom("review", "start", "--namespace", "lonely", "--within", "1s")
    time.sleep(1.2)
    shown = people["anna"].strongroom("review", "show", str(started["id"]))
    assert {row["to"] for row in shown["kept_list"]} == {"lonely-anna", "lonely-bert"}
    assert {row["why"] for row in shown["kept_list"]} == {"else the namespace would have no owner"}
    assert {row["to"] for row in shown["lapsed_list"]} == {"lonely-reader", "lonely-idle"}
    assert "2 roles stay" in [record for record in records(analyst, "--action", "review.lapse") if record["subject"] == f"review {started['id']}"][0]["reason"]


def test_a_review_of_everything_leaves_two_who_give_roles_and_nobody_is_alone_through_it(make_server):
    server = make_server()
    owner, second = server.owner, server.second()
    server.person("third", ("admin", None))
    server.person("some-auditor", ("auditor", None))
    # Nobody confirms anything: whoever began it would be alone with what is left.
    started = owner.strongroom("review", "start", "--system", "--within", "2s")
    time.sleep(2.3)
    shown = owner.strongroom("review", "show", str(started["id"]))
    admins = {row["to"] for row in shown["kept_list"] if row["what"] == "admin"}
    assert admins == {"admin", "steward", "third"} and {row["to"] for row in shown["kept_list"] if row["kind"] == "token"}
    assert "some-auditor" in {row["to"] for row in shown["lapsed_list"]}
    assert second.strongroom("user", "list")["users"]
    # With two confirmed, the third one lapses.
    started = owner.strongroom("review", "start", "--system", "--within", "6s")
    row = lambda kind, to: [each["id"] for each in given(owner) if each["kind"] == kind and each["to"] == to]
    owner.strongroom("review", "confirm", *row("role", "steward"))
    second.strongroom("review", "confirm", *row("role", "admin"), *row("token", "admin"))
    time.sleep(max(0, moment(started["deadline"]) - time.time()) + 0.2)
    assert owner.strongroom("role", "list")["roles"] != []
    left = {each["user"] for each in owner.strongroom("role", "list")["roles"] if each["role"] == "admin" and each["place"] == "system"}
    assert left == {"admin", "steward"}
    # Taken in a review, the last one stays too, and of the last two one is taken by two.
    assert owner.strongroom("review", "revoke", *row("role", "admin"), *row("role", "steward"), fails=True).returncode == 1
    assert "second person" in owner.strongroom("review", "revoke", *row("role", "steward"), fails=True).stderr


# Partners, replicas, and what lies on the disk


def test_a_partner_that_is_due_soon_is_told_of_beside_the_list(server, owner, acme):
    server.person("stands-for-it")
    owner.strongroom("partner", "create", "due-soon", "--sponsor", "stands-for-it", "--recertify", "2s")
    owner.strongroom("partner", "create", "due-late", "--sponsor", "stands-for-it", "--recertify", "100d")
    time.sleep(1.2)
    for person in (owner, server.with_token("stands-for-it")):
        found = person.strongroom("review", "list")["partners"]
        assert [each["name"] for each in found] == ["due-soon"] and found[0]["due"] and found[0]["sponsor"] == "stands-for-it"
    assert acme["anna"].strongroom("review", "list")["partners"] == []


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    yield from fleet_with(tmp_path_factory, "llm", {"README.md": b"words", "long.md": os.urandom(SIZE)})


def test_a_review_ends_once_and_on_all_replicas_and_use_on_any_of_them_is_seen_on_each(fleet):
    owners = [fleet.at(fleet.owner, server) for server in fleet.servers]
    first, second = fleet.servers
    kept, lapsed, line = fleet.person("kept", ("reader", "admin/llm")), fleet.person("lapsed", ("reader", "admin/llm")), fleet.person("user")
    there = lambda person: [read(fleet.at(person, server), "admin") for server in fleet.servers]
    assert there(lapsed) == [200, 200]
    assert read(fleet.at(kept, second), "admin") == 200
    for one in owners:
        assert the(one, "role", "kept")["last_used"] and the(one, "token", "kept")["last_used"]
    started = owners[0].strongroom("review", "start", "--repo", "admin/llm", "--within", "6s")
    deadline = moment(started["deadline"])
    owners[1].strongroom("review", "confirm", the(owners[1], "role", "kept")["id"])
    time.sleep(max(0, deadline - 1 - time.time()))
    assert time.time() < deadline - 0.3, "too slow a machine for this test"
    download = SlowDownload(fleet.at(lapsed, second), "/admin/llm/resolve/main/long.md")
    time.sleep(max(0, deadline - time.time()))
    assert [there(kept), there(lapsed)] == [[200, 200], [404, 404]]
    time.sleep(max(0, deadline + 1 - time.time()))
    arrived = download.bytes
    time.sleep(0.7)
    assert 0 < download.bytes == arrived < SIZE
    assert len(records(fleet.owner, "--action", "review.lapse")) == 1
    assert [one.strongroom("review", "show", str(started["id"]))["lapsed"] for one in owners] == [1, 1]
    del line


def test_no_name_of_a_review_is_readable_at_rest(server, owner, acme):
    server.person("planted-wombat", ("reader", "acme"))
    started = acme["anna"].strongroom("review", "start", "--namespace", "acme", "--within", "1h")
    row = the(acme["anna"], "role", "planted-wombat")
    acme["anna"].strongroom("review", "confirm", row["id"], "--reason", "planted-dunnart")
    assert started["id"]
    assert readable(server, ["planted-wombat", "planted-dunnart"]) == []
