"""Keeper, gate and couriers as services under users of their own, as deploy/apart has systemd start them: here without systemd, with
the same sockets, the same users' rights, the same commands, and a keeper without a network."""

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from conftest import PROGRAM, Person, Server, commit, free_port
from test_alerts import Receiver, within
from test_witness import Witness

# Users that every Debian has.
KEEPER, GATE, COURIER, OTHER = "daemon", "bin", "games", "nobody"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


class Apart:
    tls, health, log = Server.tls, Server.health, Server.log

    def __init__(self, folder, more=""):
        self.folder = folder
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.data, self.ca = folder / "data", folder / "ca.pem"
        self.path = folder / "run" / "keeper.sock"
        self.path.parent.mkdir()
        key = folder / "keys" / "root"
        config = f'data_dir = "{self.data}"\n[server]\nlisten = "127.0.0.1:{self.port}"\nkeeper_socket = "{self.path}"\n'
        config += f'courier_socket = "{folder}/run/courier.sock"\n{more}'
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
        self.output = open(folder / "server.log", "ab")
        self.listener = self.listen(self.path, GATE)
        self.asked = self.listen(folder / "run" / "courier.sock", KEEPER)
        self.couriers = []
        threading.Thread(target=self.give_couriers, daemon=True).start()
        self.keeper = self.start(KEEPER, "keeper", stdin=self.listener)
        self.gate = self.start(GATE, "gate")
        self.wait()
        self.owner = Person(self, json.loads(made.stdout)["admin_token"], folder / "home")

    def listen(self, path, user):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        shutil.chown(path, user)
        path.chmod(0o600)
        return listener

    def give_couriers(self):
        """As a socket with Accept=yes does."""
        while True:
            try:
                connection, _ = self.asked.accept()
            except OSError:
                return
            with connection:
                self.couriers.append(self.start(COURIER, "courier", stdin=connection))

    def give(self, path, user):
        for one in (path, *path.rglob("*")):
            shutil.chown(one, user)

    def start(self, user, only, stdin=subprocess.DEVNULL):
        account = pwd.getpwnam(user)
        environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": str(self.credentials)} if only == "keeper" else {"PATH": os.environ["PATH"]}
        command = [self.program, "serve", "--only", only, "--config", self.config]
        ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        alone = ["unshare", "--net"] if only == "keeper" else []
        return subprocess.Popen([*alone, "setpriv", *ids, *command], stdin=stdin, stdout=self.output, stderr=self.output, env=environment)

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
        self.asked.shutdown(socket.SHUT_RDWR)
        self.asked.close()
        # Each ends with the keeper, whatever it is about.
        for courier in self.couriers:
            courier.wait(20)
        self.output.close()


@pytest.fixture
def place():
    # Not below pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="strongroom-apart-") as folder:
        yield Path(folder)


@pytest.fixture
def apart(place):
    made = Apart(place)
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


def test_a_keeper_without_a_network_has_alerts_and_checkpoints_carried_by_couriers_that_have_no_key(place):
    place.chmod(0o711)
    receiver, witness = Receiver(place / "receiver"), Witness(place / "witness")
    for folder in (receiver.folder, witness.folder):
        folder.chmod(0o711)
    shutil.chown(receiver.folder / "webhook.secret", COURIER)
    apart = Apart(place, receiver.config() + witness.config())
    try:
        witness.start(apart.owner.strongroom("audit", "checkpoint")["logs"][0]["key"])
        apart.owner.strongroom("user", "create", "newcomer")
        apart.owner.strongroom("role", "grant", "newcomer", "reader", "--namespace", "admin")
        heard = lambda: [alert for alert in receiver.verified() if alert["alert"] == "policy"]
        within(10, heard, apart.log())
        going = [courier for courier in apart.couriers if courier.poll() is None]
        assert len(going) == 2, "one for the webhook, one for the witness"
        for courier in going:
            status = Path(f"/proc/{courier.pid}/status").read_text()
            assert re.search(rf"Uid:\s+{pwd.getpwnam(COURIER).pw_uid}\b", status) and re.search(r"Seccomp:\s+2", status)
        for user, secret in ((COURIER, apart.credentials / "root"), (KEEPER, receiver.folder / "webhook.secret")):
            assert as_user(user, "cat", secret).returncode != 0, f"{user} reads {secret}"
        # One that is gone is followed by another.
        for courier in going:
            courier.kill()
        before = len(receiver.got)
        apart.owner.strongroom("role", "revoke", "newcomer", "reader", "--namespace", "admin")
        within(10, lambda: len(receiver.got) > before, apart.log())
        shown = lambda: apart.owner.strongroom("audit", "checkpoint")["logs"][0].get("cosigned")
        text, lines = within(30, shown, apart.log())["checkpoint"].rsplit("\n\n", 1)
        assert abs(witness.holds(text + "\n", lines) - time.time()) < 60
        # Whoever has the keeper sends a courier nowhere else, and nobody else sends one.
        stray = socket.socket(socket.AF_UNIX)
        stray.connect(str(place / "run" / "courier.sock"))
        stray.sendall(b"https://127.0.0.1:1/\n" + b"x" * 100)
        within(10, lambda: apart.couriers[-1].poll() == 1 and "is not in this configuration" in apart.log(), apart.log())
        for user in (GATE, OTHER):
            knock = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
            assert "PermissionError" in as_user(user, "/usr/bin/python3", "-c", knock, place / "run" / "courier.sock").stderr
    finally:
        apart.stop()
        witness.stop()
        receiver.stop()


def test_a_keeper_that_would_go_out_itself_is_warned_and_one_with_couriers_looks_at_no_address(place):
    receiver = Receiver(place / "receiver")
    receiver.stop()
    shutil.chown(receiver.folder / "webhook.secret", COURIER)
    config = place / "strongroom.toml"
    text = f'data_dir = "{place}/data"\n[server]\n'
    socket_line = 'courier_socket = "/run/strongroom/courier.sock"\n'
    inside = receiver.config(allow=())

    def told(only, text):
        config.write_text(text)
        done = subprocess.run([PROGRAM, "serve", "--only", only, "--config", config], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.stderr

    assert "name it: server.courier_socket" in told("keeper", text + receiver.config())
    assert "nothing to keep" in told("keeper", text + socket_line + inside)
    assert "lies inside" in told("courier", text + socket_line + inside)
    assert "strongroom-courier.socket" in told("courier", text + receiver.config()), "what its standard input has to be"
