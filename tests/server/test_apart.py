"""Keeper and gate as two services under two users, as deploy/apart has systemd start them: here without systemd, with the same socket,
the same users' rights and the same commands."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import time

import pytest

from conftest import PROGRAM, Person, Server, commit, free_port

# Two users that every Debian has.
KEEPER, GATE, OTHER = "daemon", "bin", "nobody"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


class Apart:
    tls, health, log = Server.tls, Server.health, Server.log

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.data, self.ca = folder / "data", folder / "ca.pem"
        self.path = folder / "run" / "keeper.sock"
        self.path.parent.mkdir()
        key = folder / "keys" / "root"
        config = f'data_dir = "{self.data}"\n[server]\nlisten = "127.0.0.1:{self.port}"\nkeeper_socket = "{self.path}"\n'
        self.config = folder / "strongroom.toml"
        self.config.write_text(config)
        made = subprocess.run([PROGRAM, "init", "--config", self.config, "--root-key", key, "--json"], capture_output=True, text=True)
        # From here on systemd would give it, as LoadCredentialEncrypted= says.
        self.config.write_text(config + '[root_key]\ncredential = "root"\n')
        assert made.returncode == 0, made.stderr
        shutil.copy(self.data / "tls" / "ca.pem", self.ca)
        for name, user in (("keeper", KEEPER), ("catalog", GATE), ("objects", GATE), ("tls", GATE)):
            (self.data / name).mkdir(exist_ok=True, mode=0o700)
            self.give(self.data / name, user)
        self.give(key.parent, KEEPER)
        # The folder belongs to neither; each finds its own in it.
        for path in (folder, *folder.parents, self.data, self.path.parent):
            if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)
        self.program = folder / "strongroom"
        shutil.copy(PROGRAM, self.program)
        self.credentials = key.parent
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        shutil.chown(self.path, GATE)
        self.path.chmod(0o600)
        self.output = open(folder / "server.log", "ab")
        self.keeper = self.start(KEEPER, "keeper", stdin=self.listener)
        self.gate = self.start(GATE, "gate")
        self.wait()
        self.owner = Person(self, json.loads(made.stdout)["admin_token"], folder / "home")

    def give(self, path, user):
        for one in (path, *path.rglob("*")):
            shutil.chown(one, user)

    def start(self, user, only, stdin=subprocess.DEVNULL):
        account = pwd.getpwnam(user)
        environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(self.credentials)} if only == "keeper" else {"PATH": os.environ["PATH"]}
        command = [self.program, "serve", "--only", only, "--config", self.config]
        return subprocess.Popen(command, user=account.pw_uid, group=account.pw_gid, extra_groups=[], stdin=stdin, stdout=self.output, stderr=self.output, env=environment)

    def wait(self):
        until = time.monotonic() + 20
        while self.health() != b"ok":
            assert time.monotonic() < until and self.gate.poll() is None, self.log()
            time.sleep(0.1)

    def stop(self):
        for process in (self.gate, self.keeper):
            process.terminate()
            process.wait(20)
        self.listener.close()
        self.output.close()


@pytest.fixture
def apart(tmp_path):
    # Not below pytest's own folder, which nobody else may enter.
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="strongroom-apart-") as folder:
        made = Apart(Path(folder))
        yield made
        made.stop()


def as_user(user, *command):
    account = pwd.getpwnam(user)
    return subprocess.run([str(part) for part in command], user=account.pw_uid, group=account.pw_gid, extra_groups=[], capture_output=True, text=True)


def test_two_users_serve_one_house_and_neither_reaches_into_the_others_rooms(apart, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(os.urandom(3_000_000))
    apart.owner.hf("upload", "admin/apart", folder)
    apart.owner.hf("download", "admin/apart", "--local-dir", tmp_path / "copy")
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert apart.owner.strongroom("audit", "verify")["verified"]
    for process, user in ((apart.keeper, KEEPER), (apart.gate, GATE)):
        assert os.stat(f"/proc/{process.pid}").st_uid in (pwd.getpwnam(user).pw_uid, 0)  # 0: not dumpable
    for path in ("keeper/keeper.db",):
        assert as_user(GATE, "cat", apart.data / path).returncode != 0
    assert as_user(GATE, "cat", apart.credentials / "root").returncode != 0
    for path in ("catalog", "objects", "tls/server.key"):
        assert as_user(KEEPER, "ls" if "." not in path else "cat", apart.data / path).returncode != 0
    # Nobody but the gate's user is let in.
    knock = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    assert "PermissionError" in as_user(OTHER, "/usr/bin/python3", "-c", knock, apart.path).stderr


def test_a_gate_that_ends_is_replaced_and_a_keeper_that_ends_takes_its_gate_along(apart):
    apart.owner.hf("repos", "create", "admin/x")
    commit(apart.owner, "admin/x", {"a.md": b"words"})
    apart.gate.kill()
    apart.gate.wait()
    apart.gate = apart.start(GATE, "gate")
    apart.wait()
    assert apart.keeper.poll() is None
    assert apart.owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"
    apart.keeper.kill()
    apart.keeper.wait()
    apart.gate.wait(5)
    apart.keeper = apart.start(KEEPER, "keeper", stdin=apart.listener)
    apart.gate = apart.start(GATE, "gate")
    apart.wait()
    assert apart.owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"
    assert apart.owner.strongroom("audit", "verify")["verified"]
