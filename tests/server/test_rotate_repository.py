"""A new secret for a repository while the server serves: nothing that is read fails, nothing that was acknowledged is lost, and the
old secret opens no row."""

import contextlib
import hashlib
import json
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from conftest import PROGRAM, STORES, commit
from fleet import Fleet
from postgres import programs
from test_check import check
from test_quota import lfs, put, stored
from test_rotate import CONTENT, Readers, fill, read
from weed import HAPROXY
from weed import PROGRAM as WEED

files_only = pytest.mark.skipif(STORES.postgres is not None, reason="looks at files")


def command(server, repo="admin/llm", *more, grace="300ms"):
    return [PROGRAM, "key", "rotate", "repository", repo, *map(str, server.arguments), "--grace", grace, "--json", *more]


def rotate(server, *more, repo="admin/llm", person=None, grace="300ms"):
    done = (person or server.owner).run(command(server, repo, *more, grace=grace))
    return json.loads(done.stdout)


def step(person, step, repo="admin/llm"):
    """What the command asks of the keeper, without the command."""
    return person.http("POST", "/api/strongroom/v1/key", {"KeyRotateRepo": {"kind": "model", "repo": repo, "step": step}})


def rows(server, database, statement, *values):
    path = server.data / database / f"{database}.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(statement, values).fetchall()
        connection.commit()
    return found


def catalog_id(server):
    return rows(server, "keeper", "SELECT catalog_id FROM repo WHERE id = 1")[0][0]


def lying(server):
    """What lies in the store, by name: one that the sweep takes meanwhile is there or is not."""
    return {path.parent.name + path.name: path for path in (server.data / "objects").rglob("*") if path.is_file()}


def payloads(server):
    return {name: path.read_bytes() for name, path in lying(server).items()}


def seen(person, repo="admin/llm"):
    """All that clients can tell of a repository: ids, names, etags, contents."""
    info = person.http("GET", f"/api/models/{repo}?blobs=true").json()
    commits = person.http("GET", f"/api/models/{repo}/commits/main").json()
    refs = person.http("GET", f"/api/models/{repo}/refs").json()
    tree, path = [], f"/api/models/{repo}/tree/main?recursive=true"
    while path:
        answer = person.http("GET", path)
        tree += answer.json()
        link = answer.headers.get("Link")
        path = link[link.index("/api/") : link.index(">")] if link else None
    heads = {}
    for item in tree:
        if item["type"] == "file":
            answer = read(person, repo, item["path"])
            assert answer.status == 200, item
            heads[item["path"]] = (answer.headers["ETag"], answer.headers["X-Repo-Commit"], hashlib.sha256(answer.body).hexdigest())
    for row in commits:
        row.pop("date", None)
    return {"info": info, "commits": commits, "refs": refs, "tree": tree, "heads": heads}


def furnish(owner, tmp_path, many=300):
    """A repository with something of everything: small files, a directory that is cut into nodes, weights, history, a branch, a
    tag, and what waits in the inbox."""
    fill(owner, tmp_path)
    commit(owner, "admin/llm", {"README.md": b"# card\n", "train.log": b"loss\n", "empty.txt": b"", "deep/er/config.json": b"{}"})
    commit(owner, "admin/llm", {f"rows/part-{at:04}.csv": f"{at}\n".encode() for at in range(many)})
    assert owner.http("POST", "/api/models/admin/llm/tag/main", {"tag": "v1"}).status == 200
    assert owner.http("POST", "/api/models/admin/llm/branch/other", {}).status == 200
    commit(owner, "admin/llm", {"README.md": b"# another\n", "rows/part-0007.csv": b"changed\n"})


class Writers:
    """Somebody who commits while something else goes on, and asks again where the server says so."""

    def __init__(self, person, repo="admin/llm"):
        self.person, self.repo, self.acknowledged, self.refused = person, repo, {}, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            name, content = f"written/{len(self.acknowledged) + len(self.refused)}.txt", secrets.token_hex(16).encode()
            answer = commit(self.person, self.repo, {name: content}, fails=True)
            if answer.status == 200:
                self.acknowledged[name] = (content, answer.json()["commitOid"])
            else:
                self.refused.append((answer.status, answer.headers.get("Retry-After")))
                time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.acknowledged
        # Nothing but "in a moment".
        assert {status for status, _ in self.refused} <= {503} and all(after for _, after in self.refused), self.refused

    def all_there(self):
        commits = {row["id"] for row in all_commits(self.person, self.repo)}
        for name, (content, oid) in self.acknowledged.items():
            assert read(self.person, self.repo, name).body == content, name
            assert oid in commits, name


def all_commits(person, repo):
    found, path = [], f"/api/models/{repo}/commits/main?limit=1000"
    while path:
        answer = person.http("GET", path)
        found += answer.json()
        link = answer.headers.get("Link")
        path = link[link.index("/api/") : link.index(">")] if link else None
    return found


class Uploads:
    """The stock client, which sends files while something else goes on; a run that is told to come again comes again."""

    def __init__(self, person, folder, repo="admin/llm"):
        self.person, self.folder, self.repo, self.sent, self.failed = person, folder, repo, {}, []
        folder.mkdir()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            name = f"sent-{len(self.sent)}.bin"
            content = self.sent.get(name) or secrets.token_bytes(3_000_000)
            (self.folder / name).write_bytes(content)
            for _ in range(20):
                done = subprocess.run(
                    [str(part) for part in self.client(name)], env=self.person.environment(), capture_output=True, text=True, timeout=300
                )
                if done.returncode == 0:
                    self.sent[name] = content
                    break
                self.failed.append(done.stdout + done.stderr)
                time.sleep(0.2)

    def client(self, name):
        from conftest import PEERS

        return [PEERS / "current" / "bin" / "hf", "upload", self.repo, self.folder / name, name]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.sent

    def all_there(self):
        for name, content in self.sent.items():
            assert read(self.person, self.repo, name).body == content, name
        for failure in self.failed:
            assert "503" in failure or "being rotated" in failure, failure


def downloads(owner, folder, stop, failed):
    """The stock client, again and again into a fresh folder."""
    count = 0
    while not stop.is_set():
        target = folder / str(count)
        done = subprocess.run(
            [str(part) for part in hf_download(target)], env=owner.environment(), capture_output=True, text=True, timeout=300
        )
        if done.returncode or (target / "weights.bin").read_bytes() != CONTENT:
            failed.append(done.stdout + done.stderr)
        shutil.rmtree(target, ignore_errors=True)
        count += 1
    assert count


def hf_download(target):
    from conftest import PEERS

    return [PEERS / "current" / "bin" / "hf", "download", "admin/llm", "--include", "*.bin", "--include", "rows/part-000*", "--local-dir", target]


@contextlib.contextmanager
def downloading(owner, tmp_path):
    stop, failed = threading.Event(), []
    thread = threading.Thread(target=downloads, args=(owner, tmp_path / "downloads", stop, failed))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failed == []


def test_a_repository_is_rotated_under_downloads_uploads_and_commits(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    furnish(owner, tmp_path)
    before = seen(owner)
    with Readers([owner]), downloading(owner, tmp_path):
        assert rotate(server)["rewrapped"] >= 308
        assert seen(owner) == before
        # What is acknowledged while the copy is made, and while writes are stopped, is in it.
        with Writers(owner) as writers, Uploads(owner, tmp_path / "sent") as uploads:
            time.sleep(1)
            for how in ((), ("--re-encrypt",), ()):
                rotate(server, *how)
    writers.all_there()
    uploads.all_there()
    after = seen(owner)
    # In that order: the oldest is the last.
    assert after["commits"][-len(before["commits"]) :] == before["commits"] or len(after["commits"]) >= 50
    ids = [row["id"] for row in all_commits(owner, "admin/llm")]
    assert ids[-len(before["commits"]) :] == [row["id"] for row in before["commits"]]
    assert {ref["ref"]: ref["targetCommit"] for ref in after["refs"]["tags"]} == {ref["ref"]: ref["targetCommit"] for ref in before["refs"]["tags"]}
    for path, (etag, _, digest) in before["heads"].items():
        assert (after["heads"][path][0], after["heads"][path][2]) == (etag, digest)
    assert check(server)["damaged"] == []
    records = owner.strongroom("audit", "search", "--action", "key.rotate")["records"]
    for what in ("begin", "close", "switch", "finish"):
        assert any((record.get("subject") or "").startswith(what) and record["repo"] == "admin/llm" for record in records), what


@files_only
def test_rewrapped_and_re_encrypted_are_told_apart_by_what_lies_in_the_store(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    furnish(owner, tmp_path)
    looked, room, files = seen(owner), stored(owner), payloads(server)

    def headers():
        return {bytes(header) for (header,) in rows(server, "catalog", "SELECT header FROM envelope UNION SELECT header FROM upload UNION SELECT header FROM xorb")}

    def names():
        text = "SELECT {} FROM envelope UNION SELECT object FROM upload UNION SELECT object FROM xorb"
        return {bytes(name).hex() for (name,) in rows(server, "catalog", text.format("object"))}

    old_headers, old_names = headers(), names()
    counts = [rows(server, "catalog", f"SELECT COUNT(*) FROM {table}") for table in ("tree", "envelope", "content", "upload", "xorb", "commit_object", "ref")]
    done = rotate(server)
    assert done["rewrapped"] == sum(rows(server, "catalog", f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("envelope", "upload", "xorb"))
    assert (done["re_encrypted"], done["bytes"]) == (0, 0) and "old headers" in done["note"]
    # The payloads are the same files, and no header is.
    assert payloads(server) == files and names() == old_names
    assert not headers() & old_headers
    assert counts == [rows(server, "catalog", f"SELECT COUNT(*) FROM {table}") for table in ("tree", "envelope", "content", "upload", "xorb", "commit_object", "ref")]
    assert seen(owner) == looked and stored(owner) == room
    # Nothing of it is an orphan: the sweep after the start, which begins 15 s later, takes nothing.
    assert rows(server, "catalog", "SELECT COUNT(*) FROM orphan") == [(0,)]
    server.stop()
    swept = server.log().count("leftovers swept")
    server.start()
    until = time.monotonic() + 60
    while server.log().count("leftovers swept") == swept:
        assert time.monotonic() < until, "no sweep"
        time.sleep(0.2)
    assert payloads(server) == files
    done = rotate(server, "--re-encrypt")
    assert done["rewrapped"] == 0 and done["re_encrypted"] == len(files)
    assert done["bytes"] >= len(CONTENT)
    assert not names() & old_names and stored(owner) == room
    assert seen(owner) == looked
    server.stop()
    server.start()
    until = time.monotonic() + 60
    while lying(server).keys() & files.keys():
        assert time.monotonic() < until, "the sweep left old payloads"
        time.sleep(0.2)
    now = payloads(server)
    assert now.keys() == names() and len(now) == len(files)
    assert not {hashlib.sha256(body).digest() for body in now.values()} & {hashlib.sha256(body).digest() for body in files.values()}
    assert seen(owner) == looked
    assert check(server)["damaged"] == []


@files_only
@pytest.mark.parametrize("how", [(), ("--re-encrypt",)])
def test_the_old_secret_opens_no_row_and_is_gone(make_server, tmp_path, how):
    server = make_server()
    owner = server.owner
    furnish(owner, tmp_path, many=10)
    (old,) = rows(server, "keeper", "SELECT secret FROM repo WHERE id = 1")[0]
    rotate(server, *how)
    server.stop()
    with contextlib.closing(sqlite3.connect(server.data / "keeper" / "keeper.db")) as connection:
        assert not any(old.hex() in line.lower() for line in connection.iterdump())
        assert connection.execute("SELECT COUNT(*) FROM rotation").fetchone() == (0,)
    assert check(server)["damaged"] == []
    # Whoever kept the old secret, and has all keys of the house, puts it back.
    rows(server, "keeper", "UPDATE repo SET secret = ? WHERE id = 1", old)
    found = check(server, fails=True)
    tables = ("ref", "commit_object", "tree", "envelope", "upload", "xorb")
    counts = [rows(server, "catalog", f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables]
    assert len(found["damaged"]) == sum(counts) and found["bytes"] == 0 and min(counts) > 0
    server.start()


@files_only
def test_a_rotation_that_is_killed_at_any_moment_goes_on_when_it_is_asked_again(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    furnish(owner, tmp_path)
    looked, before = seen(owner), catalog_id(server)
    switched = 0
    started = time.monotonic()
    rotate(server, grace="0s")
    whole = time.monotonic() - started
    for how in [(), ("--re-encrypt",)] * 3:
        running = subprocess.Popen(
            list(map(str, command(server, "admin/llm", *how, grace="300ms"))),
            env=owner.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(random.uniform(0.0, whole + 0.3))
        running.kill()
        running.wait()
        switched += rows(server, "keeper", "SELECT COUNT(*) FROM rotation WHERE step = 'previous'")[0][0]
        assert seen(owner) == looked
        assert check(server)["damaged"] == []
    rotate(server)
    assert catalog_id(server) != before
    assert seen(owner) == looked and check(server)["damaged"] == []
    # Nothing is left of any of them.
    assert rows(server, "keeper", "SELECT COUNT(*) FROM rotation") == [(0,)]
    for table in ("ref", "commit_object", "tree", "envelope", "content", "upload", "xorb"):
        others = rows(server, "catalog", f"SELECT COUNT(*) FROM {table} WHERE repo <> ?", catalog_id(server))
        assert others == [(0,)], table
    assert rows(server, "catalog", "SELECT COUNT(*) FROM rotated") == [(0,)]
    server.stop()
    server.start()
    commit(owner, "admin/llm", {"after.txt": b"x"})


def killed_after_the_switch(server, *how, repo="admin/llm"):
    running = subprocess.Popen(
        list(map(str, command(server, repo, "--progress", *how, grace="1h"))), env=server.owner.environment(), stderr=subprocess.PIPE, text=True
    )
    for line in running.stderr:
        if "switched" in line:
            break
    else:
        raise AssertionError("it did not switch")
    running.kill()
    running.wait()
    running.stderr.close()


def test_what_was_switched_is_whole_and_its_old_secret_waits_for_the_command(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    furnish(owner, tmp_path, many=10)
    room = stored(owner)
    looked = seen(owner)
    for how in ((), ("--re-encrypt",)):
        killed_after_the_switch(server, *how)
        assert seen(owner) == looked and stored(owner) == room
        assert check(server)["damaged"] == []
        # A new root key is for both secrets.
        if STORES.postgres is None:
            assert owner.strongroom("key", "rotate", "root")["rewrapped"] == 4
        done = rotate(server, *how, grace="0s")
        assert (done["re_encrypted"] > 0) == bool(how)
        assert seen(owner) == looked and stored(owner) == room
        if STORES.postgres is None:
            assert owner.strongroom("key", "rotate", "root")["rewrapped"] == 3
    # One that left the payloads is finished, and another writes them anew.
    killed_after_the_switch(server)
    assert rotate(server, "--re-encrypt", grace="0s")["re_encrypted"] > 0
    assert seen(owner) == looked and stored(owner) == room
    assert check(server)["damaged"] == []
    commit(owner, "admin/llm", {"a.txt": b"0123456789"})
    assert stored(owner) == room + 10


def test_writes_wait_while_the_copy_is_made_whole_and_go_on_when_the_command_is_gone(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    fill(owner, tmp_path)
    assert step(owner, {"Begin": {"re_encrypt": False}}).json() == {"step": "pending", "closes": 0}
    commit(owner, "admin/llm", {"before.txt": b"x"})
    assert step(owner, "Close").json() == {"close": 1}
    for answer in (
        commit(owner, "admin/llm", {"while.txt": b"x"}, fails=True),
        owner.http("POST", "/api/models/admin/llm/tag/main", {"tag": "v1"}),
        owner.http("POST", "/api/models/admin/llm/super-squash/main", {}),
    ):
        assert answer.status == 503 and answer.headers["Retry-After"] == "5"
        assert b"being rotated; try again" in answer.body
    # Whoever may not write is told what they are always told.
    reader = server.person("rita", ("reader", "admin"))
    stranger = server.person("sam")
    assert commit(reader, "admin/llm", {"a.txt": b"x"}, fails=True).status == 403
    assert commit(stranger, "admin/llm", {"a.txt": b"x"}, fails=True).status == 404
    assert read(owner, "admin/llm").body == CONTENT
    # Another close makes the first one worthless.
    assert step(owner, "Close").json() == {"close": 2}
    assert step(owner, {"Switch": {"close": 1}}).status == 409
    assert rotate(server)["rewrapped"] > 0
    commit(owner, "admin/llm", {"after.txt": b"x"})
    assert read(owner, "admin/llm", "before.txt").body == b"x"
    assert step(owner, {"Switch": {"close": 2}}).status == 409 and step(owner, "Finish").status == 409


@files_only
def test_a_close_ends_by_itself_and_is_switched_no_more(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    fill(owner, tmp_path)
    room = stored(owner)
    assert step(owner, {"Begin": {"re_encrypt": False}}).status == 200 and step(owner, "Close").status == 200
    # What the command does next, before it dies.
    ((new,),) = rows(server, "keeper", "SELECT catalog_id FROM rotation")
    rows(server, "catalog", "INSERT INTO closed (repo, number, successor) VALUES (?, 1, ?)", catalog_id(server), new)
    rows(server, "catalog", "UPDATE stored SET repo = ?", new)
    server.stop()
    rows(server, "keeper", "UPDATE rotation SET closed_until_ms = 1")
    server.start()
    commit(owner, "admin/llm", {"a.txt": b"0123456789"})
    assert rows(server, "catalog", "SELECT * FROM closed") == []
    assert stored(owner) == room + 10
    assert rows(server, "catalog", "SELECT DISTINCT repo FROM stored") == [(catalog_id(server),)]
    assert step(owner, {"Switch": {"close": 1}}).status == 409
    assert rotate(server)["rewrapped"] > 0
    assert read(owner, "admin/llm", "a.txt").body == b"0123456789" and stored(owner) == room + 10


@files_only
def test_a_write_that_was_allowed_before_writes_stopped_is_refused_by_the_catalogue(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    fill(owner, tmp_path)
    # The keeper allows it; the mark in the catalogue is what holds it: as for one whose grant is older than the close.
    rows(server, "catalog", "INSERT INTO closed (repo, number, successor) VALUES (?, 1, ?)", catalog_id(server), secrets.token_bytes(16))
    for answer in (
        commit(owner, "admin/llm", {"while.txt": b"x"}, fails=True),
        owner.http("POST", "/api/models/admin/llm/tag/main", {"tag": "v1"}),
        owner.http("POST", "/api/models/admin/llm/branch/other", {}),
        owner.http("POST", "/api/models/admin/llm/super-squash/main", {}),
    ):
        assert answer.status == 503 and answer.headers["Retry-After"] == "1", answer.body
    content = secrets.token_bytes(100_000)
    _, shown = lfs(owner, "admin/llm", content)
    assert put(owner, shown, content).status == 503
    assert read(owner, "admin/llm", "while.txt").status == 404 and read(owner, "admin/llm").body == CONTENT
    rows(server, "catalog", "DELETE FROM closed")
    assert put(owner, shown, content).status == 200


def test_a_download_that_began_before_a_rotation_ends_after_it(make_server, tmp_path):
    import socket

    server = make_server()
    owner = server.owner
    big = secrets.token_bytes(32 * 1024 * 1024)
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "big.bin").write_bytes(big)
    owner.strongroom("repo", "create", "admin/llm")
    owner.hf("upload", "admin/llm", str(folder))
    tls = server.tls().wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost")
    with tls:
        text = f"GET /admin/llm/resolve/main/big.bin HTTP/1.1\r\nHost: localhost:{server.port}\r\nAuthorization: Bearer {owner.token}\r\nConnection: close\r\n\r\n"
        tls.sendall(text.encode())
        received = tls.recv(65536)
        # The rest waits in the server while everything under it changes.
        for how in ((), ("--re-encrypt",)):
            rotate(server, *how, grace="0s")
        time.sleep(1)
        while piece := tls.recv(1 << 20):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"200" in head.split(b"\r\n")[0] and body == big


def test_who_may_not_rotate_a_repository_rotates_nothing(make_server, tmp_path):
    server = make_server()
    fill(server.owner, tmp_path)
    owner = server.person("olga", ("owner", "admin"), ("security", None))
    for person in (owner, server.person("sam")):
        done = person.run(command(server), fails=True)
        assert "right to key.rotate" in done.stderr
    refused = server.stranger().run(command(server), fails=True)
    assert "STRONGROOM_TOKEN" in refused.stderr or "access token" in refused.stderr
    assert "not found" in server.owner.run(command(server, "admin/nothing"), fails=True).stderr
    # Another server's machine: its root key and its databases are not those of the server that is asked.
    other = make_server()
    assert "not that of the server" in server.owner.run(command(other), fails=True).stderr
    assert read(server.owner, "admin/llm").body == CONTENT


def test_a_repository_that_is_deleted_or_moved_while_it_is_rotated_leaves_nothing(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    for name in ("admin/pending", "admin/previous", "admin/moved"):
        owner.strongroom("repo", "create", name)
        commit(owner, name, {"a.txt": b"0123456789", "weights.bin": b"0" * 1000})
    empty = stored(owner)
    assert step(owner, {"Begin": {"re_encrypt": False}}, "admin/pending").status == 200
    assert step(owner, "Close", "admin/pending").status == 200
    killed_after_the_switch(server, repo="admin/previous")
    assert check(server)["damaged"] == []
    owner.strongroom("repo", "move", "admin/moved", "admin/elsewhere")
    killed_after_the_switch(server, repo="admin/elsewhere")
    owner.strongroom("repo", "move", "admin/elsewhere", "admin/again")
    assert rotate(server, repo="admin/again", grace="0s")["rewrapped"] > 0
    assert read(owner, "admin/moved", "a.txt").body == b"0123456789"
    for name in ("admin/pending", "admin/previous"):
        owner.strongroom("repo", "remove", name, "--yes")
        assert "not found" in owner.run(command(server, name), fails=True).stderr
    assert check(server)["damaged"] == []
    assert stored(owner) * 3 == empty
    if STORES.postgres is None:
        assert rows(server, "keeper", "SELECT COUNT(*) FROM rotation WHERE secret IS NOT NULL") == [(0,)]
        for table in ("ref", "commit_object", "tree", "envelope", "content", "upload", "stored", "rotated"):
            assert len(rows(server, "catalog", f"SELECT DISTINCT repo FROM {table}")) <= 1, table


def test_a_full_namespace_is_rotated_and_takes_what_there_was_room_for(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    fill(owner, tmp_path)
    room = stored(owner)
    owner.strongroom("quota", "set", "admin", "--bytes", str(room + 100))
    for how in ((), ("--re-encrypt",)):
        killed_after_the_switch(server, *how)
        assert commit(owner, "admin/llm", {"big.txt": b"0" * 101}, fails=True).status == 413
        rotate(server, *how, grace="0s")
        assert commit(owner, "admin/llm", {"big.txt": b"0" * 101}, fails=True).status == 413
        assert stored(owner) == room
    commit(owner, "admin/llm", {"big.txt": b"0" * 100})
    assert stored(owner) == room + 100
    # Content that is there already is found by its digest, and counts no more.
    owner.strongroom("quota", "set", "admin", "--none")
    owner.hf("upload", "admin/llm", str(tmp_path / "upload" / "weights.bin"), "copy.bin")
    assert stored(owner) == room + 100 and read(owner, "admin/llm", "copy.bin").body == CONTENT


@files_only
def test_what_was_tampered_with_is_not_made_good_by_a_rotation(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    owner.strongroom("repo", "create", "admin/llm")
    commit(owner, "admin/llm", {"a.txt": b"right", "b.txt": b"wrong"})
    # Whoever has the gate's database puts one file's envelope and payload in the place of another's.
    one, other = [row for row in rows(server, "catalog", "SELECT object, header FROM envelope WHERE size = 5")]
    path = {name: server.data / "objects" / name.hex()[:2] / name.hex()[2:] for name in (one[0], other[0])}
    kept = path[one[0]].read_bytes()
    for how in ((), ("--re-encrypt",)):
        rows(server, "catalog", "UPDATE envelope SET header = ? WHERE object = ?", other[1], one[0])
        path[one[0]].write_bytes(path[other[0]].read_bytes())
        done = owner.run(command(server, "admin/llm", *how), fails=True)
        assert "not the one that was committed" in done.stderr and "strongroom check" in done.stderr
        rows(server, "catalog", "UPDATE envelope SET header = ? WHERE object = ?", one[1], one[0])
        path[one[0]].write_bytes(kept)
    # Nothing was switched, and writes go on.
    commit(owner, "admin/llm", {"c.txt": b"x"})
    assert rotate(server)["rewrapped"] == 4
    assert {read(owner, "admin/llm", name).body for name in ("a.txt", "b.txt")} == {b"right", b"wrong"}


@files_only
def test_a_backup_of_a_rotation_under_way_is_whole(tmp_path):
    from test_backup import House

    (tmp_path / "house").mkdir()
    house = House(tmp_path / "house")
    server = house.server
    try:
        furnish(server.owner, tmp_path, many=10)
        # Between the switch and the end; then while one follows the other.
        killed_after_the_switch(server)
        house.create()
        assert house.verify()["damaged"] == []
        rotate(server, grace="0s")
        stop = threading.Event()

        def again():
            while not stop.is_set():
                rotate(server, grace="0s")

        thread = threading.Thread(target=again)
        thread.start()
        try:
            for _ in range(5):
                done = subprocess.run(
                    [PROGRAM, "backup", "create", "--to", house.backups, *map(str, server.arguments)], capture_output=True, text=True
                )
                # Where rotations follow each other without end, it may say so.
                assert done.returncode == 0 or "rotated faster" in done.stderr, done.stderr
                assert house.verify()["damaged"] == []
        finally:
            stop.set()
            thread.join()
        house.create()
        assert house.verify()["damaged"] == []
    finally:
        server.stop()


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path, count=2)
    yield made
    made.remove()


@pytest.mark.skipif(not (programs() and WEED.exists() and HAPROXY), reason="--without postgres, s3 or haproxy")
def test_every_replica_goes_on_while_a_repository_is_rotated(fleet, tmp_path):
    owner = fleet.owner
    first, second = (fleet.at(owner, server) for server in fleet.servers)
    furnish(owner, tmp_path, many=30)
    before = seen(second)
    with Readers([first, second]), Writers(second) as writers:
        for how in ((), ("--re-encrypt",)):
            rotate(fleet.servers[0], *how, person=first)
    writers.all_there()
    for person in (first, second):
        after = seen(person)
        for path, (etag, _, digest) in before["heads"].items():
            assert (after["heads"][path][0], after["heads"][path][2]) == (etag, digest)
    assert check(fleet.servers[0])["damaged"] == []
    fleet.servers[1].process.send_signal(signal.SIGTERM)
    fleet.servers[1].process.wait(timeout=40)
    fleet.servers[1].start()
    writers.all_there()
