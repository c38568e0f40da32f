"""The same server on PostgreSQL: two roles of which neither reaches the other's schema, and a database that goes away."""

import os
import time
from pathlib import Path

import pytest

from conftest import Server, commit
from postgres import Postgres, programs

pytestmark = pytest.mark.skipif(programs() is None, reason="--without postgres")


@pytest.fixture(scope="module")
def postgres():
    made = Postgres()
    yield made
    made.remove()


class Hosted:
    """A server and its database."""

    def __init__(self, postgres, folder):
        self.postgres = postgres
        self.name, self.passwords, config = postgres.database(folder)
        self.server = Server(folder, config)

    def psql(self, role, statement, fails=False):
        return self.postgres.psql(self.name, "-c", statement, user=f"strongroom_{role}", password=self.passwords[role], fails=fails)


@pytest.fixture(scope="module")
def hosted(postgres, tmp_path_factory):
    made = Hosted(postgres, tmp_path_factory.mktemp("hosted"))
    yield made
    made.server.stop()


def test_a_model_goes_up_and_comes_down_and_a_second_start_finds_everything(hosted, tmp_path):
    server, owner = hosted.server, hosted.server.owner
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(os.urandom(3_000_000))
    (model / "sub" / "config.json").write_text('{"a": 1}')
    owner.hf("upload", "admin/model", model)
    owner.hf("upload", "admin/again", model, client="hf036")
    server.stop()
    server.start()
    for repo in ("admin/model", "admin/again"):
        copy = tmp_path / repo
        owner.hf("download", repo, "--local-dir", copy)
        for path in ("model.safetensors", "sub/config.json"):
            assert (copy / path).read_bytes() == (model / path).read_bytes()
    assert list((server.data / "keeper").iterdir()) == list((server.data / "catalog").iterdir()) == []
    assert owner.strongroom("audit", "verify")["verified"]
    searched = owner.strongroom("audit", "search", "--repo", "admin/model", "--action", "object.open")["records"]
    assert {record["path"] for record in searched} >= {"model.safetensors", "sub/config.json"}


def test_neither_role_reaches_the_others_schema(hosted):
    for role, own, other in (("gate", "strongroom_catalog.ref", "strongroom_keeper.token"), ("keeper", "strongroom_keeper.token", "strongroom_catalog.ref")):
        hosted.psql(role, f"SELECT count(*) FROM {own}")
        for statement in (f"SELECT * FROM {other}", f"DELETE FROM {other}", f"DROP TABLE {other}"):
            assert "permission denied" in hosted.psql(role, statement, fails=True) or "must be owner" in hosted.psql(role, statement, fails=True)
        assert "permission denied" in hosted.psql(role, f"CREATE TABLE {other.split('.')[0]}.mine (a int)", fails=True)
        assert "permission denied" in hosted.psql(role, "CREATE TABLE public.mine (a int)", fails=True)


def test_a_dump_of_the_database_shows_no_name_no_word_and_no_token(hosted):
    owner = hosted.server.owner
    owner.http("POST", "/api/repos/create", {"name": "quokka-model", "organization": "admin"})
    commit(owner, "admin/quokka-model", {"wombat-notes.md": b"platypus words", "logs/echidna.txt": b"numbat"})
    person = hosted.server.person("bandicoot", ("reader", "admin/quokka-model"))
    person.http("GET", "/admin/quokka-model/resolve/main/wombat-notes.md")
    words = ["quokka", "wombat", "platypus", "echidna", "numbat", "bandicoot", person.token, owner.token]
    tables = "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema LIKE 'strongroom%'"
    dump = b""
    for table in hosted.postgres.psql(hosted.name, "-c", tables).split():
        dump += hosted.postgres.psql(hosted.name, "-c", f"COPY {table} TO STDOUT").encode()
    assert len(dump) > 1000
    for word in words:
        assert word.encode() not in dump and word.encode().hex().encode() not in dump, word


def test_the_gate_connects_to_its_database_and_to_nothing_else(hosted):
    assert "programs and sockets are refused" in hosted.server.log()
    gate, keeper = hosted.server.child("gate"), hosted.server.child("keeper")
    for process, role in ((gate, "gate"), (keeper, "keeper")):
        command = Path(f"/proc/{process}/cmdline").read_bytes()
        assert hosted.passwords["gate"].encode() not in command and hosted.passwords["keeper"].encode() not in command


def test_a_database_over_a_network_without_verified_tls_is_refused(tmp_path):
    import subprocess

    from conftest import PROGRAM

    for text, word in [
        ('[database]\nkeeper = "postgres://k@10.0.0.9/rooms?sslmode=require"\n', "verify-full"),
        ('[database]\nkeeper = "postgres://k:secret@10.0.0.9/rooms"\n', "line 2"),
    ]:
        file = tmp_path / "strongroom.toml"
        file.write_text(text)
        arguments = ["serve", "--config", file, "--data-dir", tmp_path / "data", "--root-key", tmp_path / "root.key"]
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 1 and word in done.stderr and "k:secret@" not in done.stdout, done.stderr


def test_while_the_database_is_gone_there_is_503_and_no_hang_and_it_comes_back_alone(postgres, tmp_path):
    hosted = Hosted(postgres, tmp_path)
    server, owner = hosted.server, hosted.server.owner
    try:
        owner.http("POST", "/api/repos/create", {"name": "kept", "organization": "admin"})
        commit(owner, "admin/kept", {"README.md": b"before"})
        postgres.stop()
        began = time.monotonic()
        answer = owner.http("GET", "/admin/kept/resolve/main/README.md")
        assert answer.status == 503 and time.monotonic() - began < 15, answer.body
        postgres.start()
        until = time.monotonic() + 20
        while owner.http("GET", "/admin/kept/resolve/main/README.md").status != 200 and time.monotonic() < until:
            time.sleep(0.2)
        assert owner.http("GET", "/admin/kept/resolve/main/README.md").body == b"before"
        commit(owner, "admin/kept", {"README.md": b"after"})
        assert owner.http("GET", "/admin/kept/resolve/main/README.md").body == b"after"
        assert owner.strongroom("audit", "verify")["verified"]
    finally:
        server.stop()
