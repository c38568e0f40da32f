"""A namespace stores no more than it may, whoever sends it, however, and through whichever server."""

import hashlib
import json
import secrets
import threading

import pytest

from conftest import commit
from fleet import Fleet
from postgres import programs
from weed import HAPROXY
from weed import PROGRAM as WEED

MIB = 1024 * 1024


def stored(owner, namespace="admin"):
    rows = owner.strongroom("quota", "list")["quotas"]
    (row,) = [row for row in rows if row["namespace"] == namespace]
    return row["stored"]


def upload(person, folder, repo, size, fails=False, client="current", name="weights.bin"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(secrets.token_bytes(size))
    return person.hf("upload", repo, str(folder / name), name, client=client, fails=fails)


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.mark.parametrize("client", ["current", "without-xet", "hf119", "hf036"])
def test_the_stock_client_shows_why_a_file_does_not_fit_and_the_next_one_that_fits_does(server, tmp_path, client):
    from conftest import PEERS

    if not (PEERS / client).exists():
        pytest.skip(f"no client {client}")
    owner = server.owner
    owner.strongroom("repo", "create", "admin/llm")
    assert owner.strongroom("quota", "set", "admin", "--bytes", "4MiB") == {"namespace": "admin", "bytes": 4 * MIB}
    upload(owner, tmp_path / "a", "admin/llm", 3 * MIB, client=client)
    before = stored(owner)
    assert 3 * MIB < before < 3 * MIB + 10_000
    refused = upload(owner, tmp_path / "b", "admin/llm", 2 * MIB, fails=True, client=client, name="more.bin")
    assert "quota of this namespace is 4194304 bytes" in refused.stdout + refused.stderr
    assert stored(owner) == before
    owner.strongroom("quota", "set", "admin", "--bytes", "8MiB")
    upload(owner, tmp_path / "b", "admin/llm", 2 * MIB, client=client, name="more.bin")
    assert stored(owner) == before + 2 * MIB
    owner.strongroom("quota", "set", "admin", "--none")
    upload(owner, tmp_path / "c", "admin/llm", 9 * MIB, client=client, name="most.bin")


def test_a_commit_past_the_quota_changes_nothing_and_reading_and_deleting_go_on(server):
    owner = server.owner
    owner.strongroom("repo", "create", "admin/llm")
    commit(owner, "admin/llm", {"a.json": b"1" * 5000})
    owner.strongroom("quota", "set", "admin", "--bytes", str(stored(owner) + 6000))
    answer = commit(owner, "admin/llm", {"b.json": b"2" * 4000, "c.json": b"3" * 4000}, fails=True)
    assert answer.status == 413 and b"quota" in answer.body
    assert owner.http("GET", "/admin/llm/resolve/main/b.json").status == 404
    commit(owner, "admin/llm", {"b.json": b"2" * 4000})
    assert owner.http("GET", "/admin/llm/resolve/main/a.json").status == 200
    owner.strongroom("quota", "set", "admin", "--bytes", "1")
    assert owner.http("GET", "/admin/llm/resolve/main/b.json").status == 200
    lines = [{"key": "header", "value": {"summary": "less"}}, {"key": "deletedFile", "value": {"path": "b.json"}}]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    assert owner.http("POST", "/api/models/admin/llm/commit/main", body, {"Content-Type": "application/x-ndjson"}).status == 200
    # Commits keep their history; a repository that is deleted gives its room back.
    assert stored(owner) > 9000
    owner.strongroom("repo", "remove", "admin/llm", "--yes")
    assert stored(owner) == 0


def lfs(person, repo, content, announced=None):
    """As git-lfs sends it."""
    oid = hashlib.sha256(content).hexdigest()
    body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": announced or len(content)}]}
    answer = person.http("POST", f"/{repo}.git/info/lfs/objects/batch", body)
    if answer.status == 404:
        answer = person.http("POST", f"/{repo}/info/lfs/objects/batch", body)
    (shown,) = answer.json()["objects"]
    return oid, shown


def put(person, shown, content):
    path = shown["actions"]["upload"]["href"].removeprefix(person.server.url)
    return person.http("PUT", path, content, token=False)


def test_who_asked_while_there_was_room_is_counted_when_the_bytes_land(server):
    owner = server.owner
    owner.strongroom("repo", "create", "admin/llm")
    owner.strongroom("quota", "set", "admin", "--bytes", "1MiB")
    contents = [secrets.token_bytes(400_000) for _ in range(6)]
    # Each fits alone, and is told so.
    shown = [lfs(owner, "admin/llm", content)[1] for content in contents]
    assert all("actions" in each for each in shown)
    answers = [None] * len(contents)

    def send(at):
        answers[at] = put(owner, shown[at], contents[at])

    threads = [threading.Thread(target=send, args=(at,)) for at in range(len(contents))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(answer.status for answer in answers) == [200, 200, 413, 413, 413, 413]
    assert 800_000 <= stored(owner) <= MIB
    _, shown = lfs(owner, "admin/llm", secrets.token_bytes(400_000))
    assert shown["error"]["code"] == 413 and "quota" in shown["error"]["message"]


def test_what_is_stored_is_counted_once_however_it_came(server, tmp_path):
    owner = server.owner
    owner.strongroom("repo", "create", "admin/llm")
    empty = stored(owner)
    upload(owner, tmp_path / "a", "admin/llm", 2 * MIB)
    assert stored(owner) == empty + 2 * MIB
    # The same content under another name, and put again: no more.
    owner.hf("upload", "admin/llm", str(tmp_path / "a" / "weights.bin"), "again.bin")
    owner.hf("upload", "admin/llm", str(tmp_path / "a" / "weights.bin"), "weights.bin")
    assert stored(owner) == empty + 2 * MIB


def test_only_who_may_sets_quotas_and_a_moved_repository_takes_its_bytes_along(server):
    owner = server.owner
    anna = server.person("anna", ("writer", "admin"))
    assert "right to quota.manage" in anna.strongroom("quota", "set", "admin", "--bytes", "1", fails=True).stderr
    assert "right to quota.manage" in anna.strongroom("quota", "list", fails=True).stderr
    assert "no such namespace" in owner.strongroom("quota", "set", "nobody", "--bytes", "1", fails=True).stderr
    owner.strongroom("role", "grant", "admin", "owner", "--namespace", "anna")
    owner.strongroom("repo", "create", "admin/llm")
    commit(owner, "admin/llm", {"a.json": b"1" * 5000})
    owner.strongroom("repo", "move", "admin/llm", "anna/llm")
    commit(owner, "anna/llm", {"b.json": b"2" * 100})
    assert stored(owner) == 0 and 5100 <= stored(owner, "anna") < 8000
    owner.strongroom("quota", "set", "anna", "--bytes", "8000")
    assert commit(owner, "anna/llm", {"c.json": b"3" * 5000}, fails=True).status == 413


@pytest.mark.skipif(not (programs() and WEED.exists() and HAPROXY), reason="--without postgres, s3 or haproxy")
def test_a_quota_is_one_for_all_replicas(tmp_path):
    fleet = Fleet(tmp_path, count=2)
    try:
        owner = fleet.owner
        people = [fleet.at(owner, server) for server in fleet.servers]
        for at in range(2):
            owner.strongroom("repo", "create", f"admin/repo-{at}")
        fits = 12
        owner.strongroom("quota", "set", "admin", "--bytes", str(stored(owner) + fits * 10_000 + 500))
        statuses = []

        def send(at):
            for number in range(8):
                # Each server writes to a repository of its own and to the other's.
                repo = f"admin/repo-{(at + number) % 2}"
                answer = commit(people[at % 2], repo, {f"f-{at}-{number}.json": secrets.token_hex(5000).encode()}, fails=True)
                statuses.append(answer.status)

        threads = [threading.Thread(target=send, args=(at,)) for at in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert set(statuses) <= {200, 413, 412}
        assert statuses.count(200) == fits, statuses
    finally:
        fleet.remove()
