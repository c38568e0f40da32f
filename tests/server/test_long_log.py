"""A log of many tiles: searched a page at a time, proved and verified, also after the server was started again."""

import http.client
import json
import sqlite3
import subprocess

from conftest import PROGRAM


def search(person, *arguments, limit):
    """Pages as an analyst walks them."""
    found, before = [], []
    while True:
        page = person.strongroom("audit", "search", *arguments, "--limit", str(limit), *before)
        found.append(page["records"])
        if not page["next"]:
            return found
        before = ["--before", page["next"]]
        assert len(found) < 100, "pages without end"


def flat(pages):
    return [record for page in pages for record in page]


def test_records_are_found_by_each_of_their_indexes_newest_first(make_server):
    server = make_server()
    owner, reader = server.owner, server.person("log-reader", ("reader", "admin"))
    other = server.with_token("log-reader")
    for name in ("one", "two"):
        assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
    for turn in range(12):
        for person in (reader, other):
            for name in ("one", "two"):
                assert person.http("GET", f"/api/models/admin/{name}").status == 200
    everything = flat(search(owner, limit=500))
    assert len(everything) > 55
    reads = [record for record in everything if record["action"] == "repo.read" and record.get("principal") == "log-reader"]
    assert len(reads) == 48
    cases = {
        ("--principal", "log-reader", "--action", "repo.read"): reads,
        ("--repo", "admin/one", "--principal", "log-reader"): [r for r in reads if r["repo"] == "admin/one"],
        ("--token", str(other.token_id)): [r for r in reads if r["token"] == other.token_id],
        ("--token", str(other.token_id), "--repo", "admin/two"): [r for r in reads if r["token"] == other.token_id and r["repo"] == "admin/two"],
        ("--address", "127.0.0.1", "--principal", "log-reader"): reads,
        ("--address", "127.0.0.2"): [],
    }
    place = lambda record: (record["time_ms"], record["log"], record["record"])
    for arguments, expected in cases.items():
        for limit in (5, 500):
            pages = search(owner, *arguments, limit=limit)
            assert flat(pages) == expected and all(len(page) <= limit for page in pages), arguments
            assert [place(r) for r in flat(pages)] == sorted(map(place, flat(pages)), reverse=True)
    # Every record but those of searches since has an address or is the keeper's own; a window has what lies in it.
    middle = reads[len(reads) // 2]
    window = flat(search(owner, "--principal", "log-reader", "--since", reads[-1]["time"], "--until", middle["time"], limit=7))
    assert window == [r for r in reads if r["time_ms"] < middle["time_ms"]]


def test_a_log_of_several_tiles_is_proved_and_verified_before_and_after_a_start(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    saved = tmp_path / "checkpoint.json"
    size = lambda: owner.strongroom("audit", "checkpoint")["size"]
    for goal in (250, 257, 600):
        while size() < goal:
            for _ in range(max(1, (goal - size()) // 2)):
                owner.http("GET", "/api/models/admin/none")
        saved.write_text(json.dumps(owner.strongroom("audit", "checkpoint")))
        last = size() - 1
        for record in {0, 1, 100, 255, 256, 511, 512, last - 1, last} & set(range(last + 1)):
            assert owner.strongroom("audit", "prove", str(record))["verified"] is True
        server.stop()
        server.start()
        for record in {0, 255, 256, 511, last} & set(range(last + 1)):
            assert owner.strongroom("audit", "prove", str(record))["verified"] is True
        verified = owner.strongroom("audit", "verify", "--from", saved)
        assert verified["verified"] is True and verified["from_size"] >= goal


def test_what_was_indexed_long_ago_and_what_waits_are_found_alike_and_who_hides_some_is_told(make_server):
    """Records are indexed four thousand at once; until then a search looks through them."""
    server = make_server()
    owner, needle, crowd = server.owner, server.person("needle"), server.person("crowd")
    for asks in (4600, 40):
        assert needle.http("GET", "/api/whoami-v2").status == 200
        connection = http.client.HTTPSConnection("localhost", server.port, context=server.tls(), timeout=60)
        for _ in range(asks):
            connection.request("GET", "/api/whoami-v2", headers={"Authorization": f"Bearer {crowd.token}"})
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()
    database = sqlite3.connect(f"file:{server.data / 'keeper' / 'keeper.db'}", uri=True, timeout=20)
    size, indexed = database.execute("SELECT size, indexed FROM audit_head").fetchone()
    assert 4096 <= indexed < size

    def told():
        by = lambda name: flat(search(owner, "--principal", name, "--action", "whoami", limit=500))
        return [record["record"] for record in by("needle")], len(by("crowd")), len(flat(search(owner, "--address", "127.0.0.1", limit=500))) > 4640

    expected = told()
    assert len(expected[0]) == 2 and expected[0][0] > indexed > expected[0][1] and expected[1:] == (4640, True)
    server.stop()
    server.start()
    assert told() == expected
    server.stop()
    check = [PROGRAM, "check", *map(str, server.arguments), "--json"]
    assert json.loads(subprocess.check_output(check))["damaged"] == []
    # Whoever holds the database takes the old one out of the index: it is still in the log, and `check` says so.
    value = database.execute("SELECT principal_index FROM audit_leaf WHERE seq = ?", (expected[0][1],)).fetchone()
    with database:
        assert database.execute("DELETE FROM audit_index WHERE value_index = ?", value).rowcount >= 1
    database.close()
    found = json.loads(subprocess.run(check, capture_output=True).stdout)["damaged"]
    assert found == [{"log": "strongroom", "what": "the index is not that of its records: searches miss some"}]
    server.start()
    assert len(told()[0]) == 1 and owner.strongroom("audit", "verify")["verified"]


def test_a_log_that_the_version_before_indexed_is_searched_after_the_upgrade(make_server):
    server = make_server()
    owner = server.owner
    for name in ("one", "two"):
        assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
    before = flat(search(owner, "--repo", "admin/one", limit=100))
    server.stop()
    with sqlite3.connect(server.data / "keeper" / "keeper.db") as database:
        # What the version before had.
        database.executescript("""
            DROP TABLE audit_index;
            ALTER TABLE audit_head DROP COLUMN indexed;
            CREATE INDEX audit_by_principal ON audit_leaf (principal_index, time_ms, log, seq);
            CREATE INDEX audit_by_repo ON audit_leaf (repo_index, time_ms, log, seq);
            CREATE INDEX audit_by_token ON audit_leaf (token_index, time_ms, log, seq);
            CREATE INDEX audit_by_address ON audit_leaf (address_index, time_ms, log, seq);
            DELETE FROM _sqlx_migrations WHERE version IN (4, 5);
        """)
    server.start()
    after = flat(search(owner, "--repo", "admin/one", limit=100))
    assert after[-len(before):] == before and len(before) >= 1
    server.stop()
    check = [PROGRAM, "check", *map(str, server.arguments), "--json"]
    assert json.loads(subprocess.check_output(check))["damaged"] == []
