"""A new root key while the server serves: nothing fails, the old key opens nothing, and no moment is the wrong one to die."""

import random
import secrets
import shutil
import signal
import subprocess
import threading
import time

import pytest

from conftest import PROGRAM, STORES, Server, commit, held_by_people
from fleet import Fleet
from postgres import programs
from weed import HAPROXY
from weed import PROGRAM as WEED

CONTENT = secrets.token_bytes(700_000)


def read(person, repo, path="weights.bin"):
    return person.http("GET", f"/{repo}/resolve/main/{path}")


def fill(owner, tmp_path, repo="admin/llm"):
    folder = tmp_path / "upload"
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(CONTENT)
    owner.strongroom("repo", "create", repo)
    owner.hf("upload", repo, str(folder))


class Readers:
    """People who read while something else goes on; every answer counts."""

    def __init__(self, people, repo="admin/llm", count=4):
        self.people, self.repo, self.answers = people, repo, []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(people[at % len(people)],)) for at in range(count)]

    def run(self, person):
        while not self.stop.is_set():
            answer = read(person, self.repo)
            self.answers.append((answer.status, answer.body == CONTENT))

    def __enter__(self):
        [thread.start() for thread in self.threads]
        time.sleep(0.2)
        return self

    def __exit__(self, *_):
        time.sleep(0.2)
        self.stop.set()
        [thread.join() for thread in self.threads]
        assert len(self.answers) > 10
        assert set(self.answers) == {(200, True)}


@pytest.mark.skipif(STORES.postgres is not None, reason="one server alone")
def test_a_root_key_is_rotated_under_downloads_and_the_old_one_opens_nothing(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    fill(owner, tmp_path)
    owner.strongroom("repo", "create", "admin/other")
    with Readers([owner]):
        # Its own secret, the CA's key, two repositories'.
        for _ in range(3):
            old = server.root_key.read_bytes()
            rotated = owner.strongroom("key", "rotate", "root")
            assert (rotated["rewrapped"], rotated["finished"]) == (4, True)
    new = server.root_key.read_bytes()
    assert new != old and server.root_key.stat().st_mode & 0o777 == 0o400
    assert list(server.root_key.parent.iterdir()) == [server.root_key]
    commit(owner, "admin/other", {"a.txt": b"after"})
    owner.strongroom("repo", "create", "admin/made-after")
    records = owner.strongroom("audit", "search", "--action", "key.rotate")["records"]
    assert any("root key" in (record.get("subject") or "") for record in records)
    server.stop()
    server.start()
    assert read(owner, "admin/llm").body == CONTENT and read(owner, "admin/other", "a.txt").body == b"after"
    commit(owner, "admin/made-after", {"a.txt": b"x"})
    check = [PROGRAM, "check", *map(str, server.arguments), "--json"]
    assert subprocess.run(check, capture_output=True).returncode == 0
    renew = [PROGRAM, "key", "renew-certificate", *map(str, server.arguments)]
    assert subprocess.run(renew, capture_output=True).returncode == 0
    server.root_key.unlink()
    server.root_key.write_bytes(old)
    server.root_key.chmod(0o400)
    refused = subprocess.run(check, capture_output=True, text=True)
    assert refused.returncode == 1 and "is this the root key" in refused.stderr
    assert not any(b"AGE-SECRET-KEY" in path.read_bytes() for path in server.data.rglob("*") if path.is_file())


@pytest.mark.skipif(STORES.postgres is not None, reason="one server alone")
def test_repositories_that_are_made_while_the_root_key_is_rotated_open_afterwards(make_server):
    server = make_server()
    owner, made, stop = server.owner, [], threading.Event()

    def make(lane):
        while not stop.is_set():
            name = f"admin/repo-{lane}-{len(made)}"
            answer = owner.http("POST", "/api/repos/create", {"name": name.split("/")[1], "organization": "admin", "type": "model"})
            assert answer.status == 200, answer.body
            made.append(name)

    threads = [threading.Thread(target=make, args=(lane,)) for lane in range(4)]
    [thread.start() for thread in threads]
    for _ in range(8):
        owner.strongroom("key", "rotate", "root")
    stop.set()
    [thread.join() for thread in threads]
    server.stop()
    server.start()
    assert len(made) > 8
    for name in made:
        assert owner.http("GET", f"/api/models/{name}").status == 200, name


@pytest.mark.skipif(STORES.postgres is not None, reason="one server alone")
def test_a_server_that_is_killed_at_any_moment_of_a_rotation_starts_again(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    fill(owner, tmp_path)
    keys = set()
    for pause in [0.0, *(random.uniform(0.0, 0.12) for _ in range(14))]:
        command = [PROGRAM, "key", "rotate", "root"]
        rotating = subprocess.Popen(command, env=owner.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        children = [server.child("keeper"), server.child("gate")]
        server.process.kill()
        for child in filter(None, children):
            subprocess.run(["kill", "-9", str(child)], capture_output=True)
        server.process.wait()
        rotating.wait()
        keys.add(server.root_key.read_bytes())
        server.start()
        assert read(owner, "admin/llm").body == CONTENT
    # Some were killed before the new file had its name, some after.
    assert len(keys) > 1
    owner.strongroom("key", "rotate", "root")
    assert read(owner, "admin/llm").body == CONTENT
    assert list(server.root_key.parent.iterdir()) == [server.root_key]


@pytest.mark.skipif(STORES.postgres is not None, reason="one server alone")
def test_who_may_not_rotates_nothing_and_a_key_that_is_not_a_file_says_so(make_server, tmp_path):
    server = make_server()
    before = server.root_key.read_bytes()
    writer = server.person("wanda", ("writer", "admin"), ("security", None))
    assert "right to key.rotate" in writer.strongroom("key", "rotate", "root", fails=True).stderr
    assert server.root_key.read_bytes() == before
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    sealed = Server(sealed, sealed=("--root-shares", "2of3"))
    try:
        for share in sealed.made["root_key_shares"][:2]:
            subprocess.run([PROGRAM, "unseal"], input=share, text=True, env=sealed.owner.environment(), capture_output=True, check=True)
        assert "in shares" in sealed.owner.strongroom("key", "rotate", "root", fails=True).stderr
    finally:
        sealed.stop()


def opened(server, lines):
    """What each of these lines does to a sealed server."""
    given = [subprocess.run([PROGRAM, "unseal", "--json"], input=line, text=True, env=server.owner.environment(), capture_output=True) for line in lines]
    return server.health() == b"ok", given


@pytest.mark.skipif(STORES.postgres is not None, reason="one server alone")
@pytest.mark.parametrize("how", ["shares", "passphrase"])
def test_a_root_key_that_people_hold_is_rotated_to_the_next_one_that_they_made(tmp_path, how):
    (tmp_path / "server").mkdir()
    server, old = held_by_people(tmp_path / "server", how)
    old = old[:2]
    try:
        owner = server.owner
        assert opened(server, old)[0]
        fill(owner, tmp_path)
        assert "key new-root" in owner.strongroom("key", "rotate", "root", fails=True).stderr
        # People make the next one, and only the configuration can name it.
        if how == "shares":
            made = owner.strongroom("key", "new-root", "--root-shares", "2of3")
            new = made["root_key_shares"][1:]
        else:
            phrase, file = tmp_path / "next-phrase", tmp_path / "next.key"
            phrase.write_text("the next correct horse\n")
            made = owner.strongroom("key", "new-root", "--passphrase-file", phrase, "--out", file)
            assert file.stat().st_mode & 0o777 == 0o400 and b"AGE-SECRET-KEY" not in file.read_bytes()
            assert owner.strongroom("key", "new-root", "--passphrase-file", phrase, "--out", file, fails=True).returncode == 1
            new = [phrase.read_text()]

        def again(lines, first=None):
            server.stop()
            if first:
                first()
            server.start(b"sealed")
            return opened(server, lines)

        config = server.folder / "strongroom.toml"
        config.write_text((config.read_text() if config.exists() else "") + f'[root_key]\nnext = "{made["recipient"]}"\n')
        if "--config" not in server.arguments:
            server.arguments += ["--config", config]
        assert again(old)[0]
        with Readers([owner]):
            rotated = owner.strongroom("key", "rotate", "root")
            assert (rotated["rewrapped"], rotated["finished"], rotated["recipient"]) == (3, False, made["recipient"])
            assert "not the new one" in owner.strongroom("key", "rotate", "root", "--finish", fails=True).stderr
        # What is made meanwhile opens with either; the old one still opens all.
        owner.strongroom("repo", "create", "admin/made-meanwhile")
        assert again(old)[0] and read(owner, "admin/llm").body == CONTENT

        def replace():
            if how == "passphrase":
                server.root_key.unlink()
                shutil.copy(file, server.root_key)

        assert again(new, replace)[0]
        with Readers([owner]):
            finished = owner.strongroom("key", "rotate", "root", "--finish")
            assert (finished["rewrapped"], finished["finished"]) == (4, True)
        assert "new-root" in owner.strongroom("key", "rotate", "root", fails=True).stderr, "it is the one that is held already"
        # The old one opens nothing any more.
        if how == "shares":
            ok, given = again(old)
            assert not ok and all(done.returncode == 0 for done in given[:-1]) and given[-1].returncode == 1
        assert again(new)[0]
        assert read(owner, "admin/llm").body == CONTENT
        commit(owner, "admin/made-meanwhile", {"a.txt": b"after"})
    finally:
        server.stop()


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path, count=1)
    yield made
    made.remove()


@pytest.mark.skipif(not (programs() and WEED.exists() and HAPROXY), reason="--without postgres, s3 or haproxy")
def test_every_replica_goes_on_while_the_root_key_is_rotated(fleet, tmp_path):
    owner, first = fleet.owner, fleet.servers[0]
    copy = tmp_path / "second.key"
    shutil.copy(first.root_key, copy)
    folder = tmp_path / "second"
    folder.mkdir()
    second = Server(folder, fleet.config, root_key=copy)
    fleet.servers.append(second)
    fill(owner, tmp_path)
    for name in ("a", "b", "c"):
        owner.strongroom("repo", "create", f"admin/{name}")
        commit(owner, f"admin/{name}", {"x.txt": name.encode()})
    at_first, at_second = fleet.at(owner, first), fleet.at(owner, second)
    with Readers([at_first, at_second]):
        rotated = at_first.strongroom("key", "rotate", "root")
        assert (rotated["rewrapped"], rotated["finished"]) == (6, False) and "--finish" in rotated["next"]
        # The second has the old file, and goes on: with what it opened before, with what it did not, and with what it makes.
        assert read(at_second, "admin/a", "x.txt").body == b"a"
        at_second.strongroom("repo", "create", "admin/by-second")
        assert at_first.http("GET", "/api/models/admin/by-second").status == 200
        assert "not the new one" in at_second.strongroom("key", "rotate", "root", "--finish", fails=True).stderr
        copy.unlink()
        shutil.copy(first.root_key, copy)
        finished = at_first.strongroom("key", "rotate", "root", "--finish")
        assert (finished["rewrapped"], finished["finished"]) == (7, True)
        assert read(at_second, "admin/b", "x.txt").body == b"b"
        at_second.strongroom("repo", "create", "admin/by-second-too")
        assert at_first.http("GET", "/api/models/admin/by-second-too").status == 200
    second.process.send_signal(signal.SIGTERM)
    second.process.wait(timeout=40)
    second.start()
    assert read(at_second, "admin/c", "x.txt").body == b"c"
