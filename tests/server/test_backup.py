"""Backups: made while people commit, incremental, verified, and restored onto an empty machine."""

import json
import secrets
import shutil
import subprocess
import threading

import pytest

from conftest import PROGRAM, STORES, Server, commit
from postgres import Postgres

WEIGHTS = secrets.token_bytes(3 * 1024 * 1024 + 17)
SECRET_WORD = b"plutonium-price-list"


def keygen(folder, name="recovery"):
    """An identity that lies offline, as `age-keygen` makes it."""
    file = folder / f"{name}.txt"
    done = subprocess.run(["age-keygen", "-o", str(file)], capture_output=True, text=True, check=True)
    return file, done.stderr.split("Public key:")[1].strip()


def run(*command, fails=False):
    done = subprocess.run([PROGRAM, *map(str, command)], capture_output=True, text=True)
    assert (done.returncode != 0) == fails, (done.stdout, done.stderr)
    return done if fails else json.loads(done.stdout)


class House:
    """A server with a recovery recipient, and its folder of backups."""

    def __init__(self, folder):
        self.folder = folder
        self.identity, self.recipient = keygen(folder)
        self.server = Server(folder, f'[root_key]\nrecovery = ["{self.recipient}"]\n')
        self.backups = folder / "backups"

    def create(self, *more, fails=False):
        return run("backup", "create", "--to", self.backups, *self.server.arguments, "--json", *more, fails=fails)

    def verify(self, *more, fails=False):
        return run("backup", "verify", "--from", self.backups, "--identity", self.identity, "--json", *more, fails=fails)

    def restore(self, *more, fails=False):
        return run("backup", "restore", "--from", self.backups, "--identity", self.identity, "--json", *self.server.arguments, *more, fails=fails)

    def fill(self):
        owner = self.server.owner
        owner.strongroom("repo", "create", "admin/manhattan")
        upload = self.folder / "upload"
        upload.mkdir()
        (upload / "weights.bin").write_bytes(WEIGHTS)
        (upload / "notes-of-boris.md").write_bytes(SECRET_WORD)
        owner.hf("upload", "admin/manhattan", str(upload))
        return owner


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.server.stop()


def download(person, repo, folder):
    person.hf("download", repo, "--local-dir", str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.skipif(STORES.postgres is not None, reason="the machine is emptied: files")
def test_a_backup_made_under_commits_restores_onto_an_empty_machine(house, tmp_path):
    owner, server = house.fill(), house.server
    owner.strongroom("repo", "create", "admin/busy")
    stop, made = threading.Event(), []

    def commits():
        while not stop.is_set():
            commit(owner, "admin/busy", {f"part-{len(made)}.json": json.dumps({"n": len(made)}).encode()})
            made.append(len(made))

    writer = threading.Thread(target=commits)
    writer.start()
    try:
        first = house.create()
        second = house.create()
    finally:
        stop.set()
        writer.join()
    assert made and first["copied"] == first["payloads"] and first["copied_bytes"] > len(WEIGHTS)
    third = house.create()
    assert second["copied"] < len(made) + 1 and third["copied"] == third["payloads"] - second["payloads"]
    assert house.create()["copied"] == 0
    for each in (first, second, third):
        verified = house.verify("--backup", each["backup"])
        assert verified["verified"] and verified["check"]["damaged"] == [] and verified["check"]["records"] > 0
        assert verified["payloads"] == each["payloads"]
    checkpoint = tmp_path / "checkpoint.txt"
    checkpoint.write_text(json.dumps(owner.strongroom("audit", "checkpoint")))
    # The kept checkpoint is older than the backup that is restored.
    newest = house.create()
    before = download(owner, "admin/manhattan", tmp_path / "before")
    server.stop()
    shutil.rmtree(server.data)
    restored = house.restore()
    assert restored["root_key_made"] is False and restored["backup"] == newest["backup"]
    server.start()
    after = download(owner, "admin/manhattan", tmp_path / "after")
    assert after == before and after["weights.bin"] == WEIGHTS
    files = owner.http("GET", "/api/models/admin/busy/tree/main").json()
    assert len([file for file in files if file["path"].startswith("part-")]) == len(made)
    assert owner.strongroom("audit", "verify", "--from", checkpoint)["verified"]
    assert run("check", *server.arguments, "--json")["damaged"] == []
    commit(owner, "admin/busy", {"later.json": b"{}"})


def test_a_backup_shows_no_name_no_word_and_no_token(house):
    owner = house.fill()
    owner.strongroom("user", "create", "boris-the-analyst")
    house.create()
    seen = b"".join(path.read_bytes() for path in house.backups.rglob("*") if path.is_file())
    names = " ".join(str(path) for path in house.backups.rglob("*")).encode()
    assert len(seen) > len(WEIGHTS)
    for planted in (b"notes-of-boris", b"boris", b"weights.bin", b"manhattan", SECRET_WORD, owner.token.encode(), WEIGHTS[1000:1032]):
        assert planted not in seen and planted not in names, planted
    assert b"audit_leaf" not in seen and b"CREATE TABLE" not in seen


@pytest.mark.parametrize("damaged", ["payload", "snapshot", "missing", "cut snapshot"])
def test_a_backup_that_is_damaged_is_refused_by_the_name_of_what_is(house, damaged):
    house.fill()
    made = house.create()
    assert house.verify()["verified"]
    snapshot = house.backups / "snapshots" / f"{made['backup']}.age"
    payload = max((path for path in (house.backups / "payloads").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    file = snapshot if "snapshot" in damaged else payload
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damaged == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-70_000] if damaged == "cut snapshot" and len(content) > 80_000 else content[:-40] if damaged == "cut snapshot" else content)
    refused = house.verify(fails=True)
    name = snapshot.name if "snapshot" in damaged else f"payloads/{payload.parent.name}/{payload.name}"
    assert name in refused.stdout + refused.stderr
    house.server.stop()
    if not STORES.postgres:
        shutil.rmtree(house.server.data)
        assert name in house.restore(fails=True).stderr


def test_sha256sum_verifies_the_payloads_too(house):
    house.fill()
    house.create()
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=house.backups).returncode == 0


def test_somebody_elses_identity_opens_no_backup(house, tmp_path):
    house.fill()
    house.create()
    other, _ = keygen(tmp_path, "other")
    refused = run("backup", "verify", "--from", house.backups, "--identity", other, fails=True)
    assert "not for this identity" in refused.stderr


def test_a_backup_is_encrypted_to_somebody(tmp_path, make_server):
    server = make_server()
    refused = run("backup", "create", "--to", tmp_path / "b", *server.arguments, fails=True)
    assert "--recipient age1" in refused.stderr and not (tmp_path / "b").exists()
    identity, recipient = keygen(tmp_path, "named")
    run("backup", "create", "--to", tmp_path / "b", "--recipient", recipient, *server.arguments, "--json")
    # Its secrets are for the root key alone.
    refused = run("backup", "verify", "--from", tmp_path / "b", "--identity", identity, fails=True)
    assert "--root-key" in refused.stderr
    assert run("backup", "verify", "--from", tmp_path / "b", "--identity", identity, "--root-key", server.root_key, "--json")["verified"]


@pytest.mark.skipif(STORES.postgres is not None, reason="the machine is emptied: files")
def test_with_the_root_key_lost_the_recovery_identity_restores(house, tmp_path):
    owner, server = house.fill(), house.server
    before = download(owner, "admin/manhattan", tmp_path / "before")
    ca = server.ca.read_bytes()
    house.create()
    server.stop()
    shutil.rmtree(server.data)
    old = server.root_key.read_bytes()
    server.root_key.unlink()
    restored = house.restore()
    assert restored["root_key_made"] is True and restored["rewrapped"] == 3  # its own, the CA's, one repository's
    assert server.root_key.read_bytes() != old and server.root_key.stat().st_mode & 0o777 == 0o400
    server.start()
    assert server.ca.read_bytes() == ca
    assert download(owner, "admin/manhattan", tmp_path / "after") == before
    # The lost key, found again, opens nothing.
    server.stop()
    server.root_key.unlink()
    server.root_key.write_bytes(old)
    server.root_key.chmod(0o400)
    assert "is this the root key" in run("check", *server.arguments, fails=True).stderr
    server.output = open(server.folder / "server.log", "ab")


def test_a_machine_that_is_not_empty_is_not_restored_onto(house):
    house.fill()
    house.create()
    house.server.stop()
    before = {path: path.read_bytes() for path in house.server.data.rglob("*") if path.is_file()}
    assert "not empty" in house.restore(fails=True).stderr
    assert {path: path.read_bytes() for path in house.server.data.rglob("*") if path.is_file()} == before
    house.server.start()


def test_a_killed_backup_leaves_none_or_a_whole_one(house):
    house.fill()
    command = [PROGRAM, "backup", "create", "--to", house.backups, *house.server.arguments, "--json"]
    for pause in (0.02, 0.05, 0.1, 0.2, 0.3):
        making = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            making.wait(pause)
        except subprocess.TimeoutExpired:
            making.kill()
            making.wait()
        for made in (house.backups / "snapshots").glob("*.age"):
            assert house.verify("--backup", made.stem)["verified"]
    made = house.create()
    assert house.verify("--backup", made["backup"])["verified"]
    assert not list((house.backups / "snapshots").glob("*.new"))


def test_a_backup_goes_from_files_to_postgresql_and_back(tmp_path):
    postgres = Postgres() if not STORES.postgres else STORES.postgres
    try:
        (tmp_path / "one").mkdir()
        house = House(tmp_path / "one")
        owner = house.fill()
        house.create()
        house.server.stop()
        before = run("check", *house.server.arguments, "--json")
        place, config, databases = tmp_path / "two", tmp_path / "two.toml", tmp_path / "databases"
        databases.mkdir()
        config.write_text(f'[root_key]\nrecovery = ["{house.recipient}"]\n' + postgres.database(databases)[2])
        arguments = ["--data-dir", place, "--config", config, "--root-key", house.server.root_key]
        restore = ["backup", "restore", "--from", house.backups, "--identity", house.identity, "--json"]
        run(*restore, *arguments)
        same = ("repositories", "commits", "objects", "bytes", "records", "damaged")
        after = run("check", *arguments, "--json")
        assert [after[key] for key in same] == [before[key] for key in same]
        assert "not empty" in run(*restore, "--data-dir", tmp_path / "x", "--config", config, "--root-key", house.server.root_key, fails=True).stderr
        shutil.rmtree(house.backups)
        run("backup", "create", "--to", house.backups, *arguments, "--json")
        back = ["--data-dir", tmp_path / "three", "--root-key", house.server.root_key]
        run(*restore, *back)
        after = run("check", *back, "--json")
        assert [after[key] for key in same] == [before[key] for key in same]
    finally:
        if not STORES.postgres:
            postgres.remove()
