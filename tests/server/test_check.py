"""`strongroom check`: every damage is named, an untouched store is clean, and nothing is changed by looking."""

import contextlib
import hashlib
import json
import re
import secrets
import sqlite3
import subprocess

import pytest

from conftest import PROGRAM, STORES, commit

BIG = secrets.token_bytes(200_000)


def check(server, fails=False):
    command = [PROGRAM, "check", *map(str, server.arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == (1 if fails else 0), (done.stdout, done.stderr)
    return json.loads(done.stdout)


def stored(server):
    """The bytes of everything that is stored; SQLite's index of its log, and an empty log, are no content."""
    files = sorted(path for part in ("keeper", "catalog", "objects") for path in (server.data / part).rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.stat().st_size and not path.name.endswith("-shm")}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    from conftest import Server

    server = Server(tmp_path_factory.mktemp("server"))
    owner = server.owner
    for repo, kind in (("admin/llm", "model"), ("admin/facts", "dataset"), ("admin/gone", "model"), ("admin/empty", "model")):
        owner.strongroom("repo", "create", repo, "--type", kind)
    commit(owner, "admin/llm", {"README.md": b"# card\n", "deep/er/config.json": b"{}", "train.log": b"loss 0.1\n", "bias.bin": b"0" * 99})
    commit(owner, "admin/llm", {"deep/er/more.json": b"[1]", "empty.txt": b""})
    commit(owner, "admin/facts", {f"part-{at}.csv": f"{at}\n".encode() for at in range(300)}, kind="dataset")
    commit(owner, "admin/gone", {"a.txt": b"gone"})
    owner.strongroom("repo", "remove", "admin/gone", "--yes")
    folder = tmp_path_factory.mktemp("upload")
    (folder / "weights.bin").write_bytes(BIG)
    owner.hf("upload", "admin/llm", str(folder))
    (folder / "weights.bin").write_bytes(BIG[::-1])
    # Sent, and never committed.
    owner.hf("upload", "admin/facts", str(folder), "--repo-type", "dataset")
    yield server
    server.stop()


def test_an_untouched_store_is_clean_while_the_server_runs(house):
    found = check(house)
    assert found["damaged"] == [] and found["repositories"] == 3
    # 7 files and weights, 300 rows and weights, and what Xet left in the inbox.
    assert found["objects"] >= 308 and found["bytes"] >= 2 * len(BIG)
    assert found["records"] > 10 and found["commits"] >= 4 and found["directories"] >= 6
    assert house.owner.http("GET", "/api/models/admin/llm").status == 200


@pytest.mark.skipif(STORES.postgres is not None, reason="looks at files")
class TestDamage:
    @pytest.fixture(autouse=True)
    def stopped(self, house):
        house.stop()
        yield
        house.start()

    @contextlib.contextmanager
    def edited(self, house, database, statement, *values):
        """A row is changed for a while."""
        path = house.data / database / f"{database}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = path.read_bytes()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute(statement, values).rowcount > 0
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            yield
        finally:
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            path.write_bytes(kept)

    def rows(self, house, database, statement):
        with contextlib.closing(sqlite3.connect(house.data / database / f"{database}.db")) as connection:
            return connection.execute(statement).fetchall()

    def weights(self, house):
        """The payload of the model's weights: the big one that an envelope names, in the repository with a log."""
        (name,) = self.rows(
            house,
            "catalog",
            "SELECT object FROM envelope WHERE size = 200000 AND repo IN (SELECT repo FROM envelope WHERE compartment = 'logs')",
        )[0]
        return name.hex(), house.data / "objects" / name.hex()[:2] / name.hex()[2:]

    def test_looking_changes_no_byte(self, house):
        before = stored(house)
        check(house)
        assert stored(house) == before

    def damaged(self, house):
        found = check(house, fails=True)["damaged"]
        assert found
        return found

    @pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing", "swapped"])
    def test_a_payload_that_is_damaged_is_named_with_its_file(self, house, damage):
        name, path = self.weights(house)
        kept = path.read_bytes()
        other = next(other for other in (house.data / "objects").rglob("*") if other.is_file() and other != path)
        changed = {
            "flipped": kept[:150_000] + bytes([kept[150_000] ^ 1]) + kept[150_001:],
            "cut": kept[:-1000],
            "longer": kept + b"x",
            "swapped": other.read_bytes(),
            "missing": None,
        }[damage]
        path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        try:
            (found,) = self.damaged(house)
        finally:
            path.write_bytes(kept)
        assert (found["repository"], found["path"], found["object"]) == ("model admin/llm", "weights.bin", name)
        assert "payload" in found["what"]

    def test_an_edited_envelope_is_named_with_its_file(self, house):
        name, _ = self.weights(house)
        (header,) = self.rows(house, "catalog", f"SELECT header FROM envelope WHERE object = x'{name}'")[0]
        changed = header.replace(b"--- ", b"--- " if header.count(b"--- ") == 0 else b"---  ", 1)
        for wrong in (changed, header[:-2] + bytes([header[-2] ^ 1]) + header[-1:]):
            with self.edited(house, "catalog", "UPDATE envelope SET header = ? WHERE hex(object) = upper(?)", wrong, name):
                (found,) = self.damaged(house)
            assert found["path"] == "weights.bin" and "envelope" in found["what"]

    def test_the_envelope_of_another_object_is_named(self, house):
        name, _ = self.weights(house)
        statement = (
            "UPDATE envelope SET header = (SELECT o.header FROM envelope o WHERE o.repo = envelope.repo AND o.object != envelope.object "
            "AND o.compartment = envelope.compartment LIMIT 1) WHERE hex(object) = upper(?)"
        )
        with self.edited(house, "catalog", statement, name):
            (found,) = self.damaged(house)
        assert found["path"] == "weights.bin" and "not the one that was committed" in found["what"]

    def test_a_missing_envelope_is_named(self, house):
        name, _ = self.weights(house)
        with self.edited(house, "catalog", "DELETE FROM envelope WHERE hex(object) = upper(?)", name):
            (found,) = self.damaged(house)
        assert found["path"] == "weights.bin" and "missing" in found["what"]

    def test_an_edited_or_missing_directory_is_named(self, house):
        flipped = "UPDATE tree SET body_sealed = CAST(body_sealed || x'00' AS BLOB) WHERE rowid = (SELECT MIN(rowid) FROM tree)"
        for statement in (flipped, "DELETE FROM tree WHERE rowid = (SELECT MIN(rowid) FROM tree)"):
            with self.edited(house, "catalog", statement):
                found = self.damaged(house)
            assert all("directory" in row["what"] and row["repository"] == "model admin/llm" for row in found)

    @pytest.mark.parametrize(
        ("statement", "what"),
        [
            ("UPDATE commit_object SET body_sealed = CAST(body_sealed || x'00' AS BLOB) WHERE rowid = 1", "commit"),
            ("UPDATE commit_object SET time_ms = time_ms + 5000 WHERE rowid = 1", "commit"),
            ("UPDATE commit_object SET parent = NULL WHERE parent IS NOT NULL", "commit"),
            ("UPDATE ref SET target = x'00' WHERE rowid = 1", "names no commit"),
            ("UPDATE ref SET name_sealed = CAST(name_sealed || x'00' AS BLOB) WHERE rowid = 1", "branch or tag"),
            ("UPDATE envelope SET size = size + 1 WHERE size = 200000", "size"),
            ("UPDATE xorb SET chunks_sealed = CAST(chunks_sealed || x'00' AS BLOB)", "xorb"),
        ],
    )
    def test_an_edited_row_of_the_catalogue_is_named(self, house, statement, what):
        with self.edited(house, "catalog", statement):
            assert all(what in row["what"] and "admin/" in row["repository"] for row in self.damaged(house))

    @pytest.mark.parametrize(
        ("statement", "what"),
        [
            ("UPDATE audit_leaf SET outcome = 'allowed' WHERE seq = 3 AND outcome != 'allowed' OR seq = 4", r"record"),
            ("UPDATE audit_leaf SET body_sealed = CAST(body_sealed || x'00' AS BLOB) WHERE seq = 4", r"record"),
            ("UPDATE audit_leaf SET principal_index = x'00' WHERE seq = 4", r"record"),
            ("DELETE FROM audit_leaf WHERE seq = 4", r"NOT verify"),
            ("UPDATE audit_tile SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB) WHERE level = 0", r"tile 0/0 is not"),
            ("UPDATE audit_tile SET middle = CAST(x'00' || substr(middle, 2) AS BLOB) WHERE level = 0", r"tile 0/0 is not"),
            ("UPDATE audit_tile SET middle = CAST(substr(middle, 1, 480) AS BLOB) WHERE level = 0", r"tile 0/0 is not"),
            ("UPDATE audit_tile SET hashes = CAST(x'' AS BLOB) WHERE level = 1", r"tile 1/0 is not"),
            ("DELETE FROM audit_tile WHERE level = 1", r"tile 1/0 is missing"),
            ("UPDATE repo SET secret = CAST(secret || x'00' AS BLOB) WHERE id = 1", r"secret"),
            ("UPDATE repo SET name_sealed = CAST(name_sealed || x'00' AS BLOB) WHERE id = 1", r"keeper database"),
            ("UPDATE instance SET value = CAST(value || x'00' AS BLOB) WHERE name = 'ca_key'", r"CA's key"),
        ],
    )
    def test_an_edited_row_of_the_keeper_is_named(self, house, statement, what):
        if "audit_tile" in statement:
            # The first tile is written once it is full.
            house.start()
            for _ in range(256):
                house.owner.http("GET", "/api/whoami-v2")
            house.stop()
        statement = statement.replace("seq = 3 AND outcome != 'allowed' OR seq = 4", "seq = (SELECT MAX(seq) FROM audit_leaf WHERE outcome = 'done')")
        with self.edited(house, "keeper", statement):
            found = self.damaged(house)
        assert any(re.search(what, row["what"]) for row in found), found
        if what == "record":
            assert any("record" in row for row in found)

    def test_a_payload_that_nothing_names_is_counted_and_no_damage(self, house):
        before = check(house)["orphans"]
        stray = house.data / "objects" / "00" / ("1" * 30)
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"noise")
        assert check(house)["orphans"] == before + 1
        stray.unlink()

    def test_another_root_key_checks_nothing(self, house, tmp_path):
        other = tmp_path / "other.key"
        command = [PROGRAM, "init", "--data-dir", tmp_path / "data", "--root-key", other, "--json"]
        assert subprocess.run(command, capture_output=True).returncode == 0
        command = [PROGRAM, "check", "--data-dir", house.data, "--root-key", other]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and "is this the root key" in done.stderr
