"""Several servers on one database and one bucket, behind the balancer that deploy/ shows."""

import re
import secrets
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import Person, Server, commit, free_port
from postgres import Postgres, programs
from weed import HAPROXY, Weed
from weed import PROGRAM as WEED

DEPLOY = Path(__file__).parents[2] / "deploy"


def fleet_with(factory, name, files):
    """A fleet whose owner has one repository, as a fixture gives it; none where it lacks a program."""
    if not (programs() and WEED.exists() and HAPROXY):
        pytest.skip("--without postgres, s3 or haproxy")
    made = Fleet(factory.mktemp("fleet"))
    try:
        assert made.owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
        commit(made.owner, f"admin/{name}", files)
        yield made
    finally:
        made.remove()


class Fleet:
    """Whoever speaks to `url` speaks to some replica."""

    def __init__(self, folder, count=2, more="", beside=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.beside = beside
        self.postgres = beside.postgres if beside else Postgres()
        self.weed = beside.weed if beside else Weed(self.postgres)
        self.name, self.passwords, database = self.postgres.database(folder)
        _, objects = self.weed.bucket(folder)
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.config = f'[server]\nhosts = ["localhost:{self.port}"]\n{database}{objects}{more}'
        self.servers, self.people = [], 0
        for _ in range(count):
            self.add()
        self.ca = self.servers[0].ca
        self.balancer = None
        self.balance()
        self.owner = Person(self, self.servers[0].made["admin_token"], self.folder / "home-owner")

    def add(self):
        folder = self.folder / f"replica-{len(self.servers) + 1}"
        folder.mkdir()
        first = self.servers[0] if self.servers else None
        self.servers.append(Server(folder, self.config, root_key=first.root_key if first else None))
        return self.servers[-1]

    def balance(self):
        """deploy/haproxy.cfg with this fleet's addresses."""
        text = (DEPLOY / "haproxy.cfg").read_text()
        text = re.sub(r"(?m)^    server .*\n", "", text)
        text = text.replace("strongroom.example.org", "localhost").replace("/etc/haproxy/strongroom-ca.pem", str(self.ca))
        text = text.replace("bind :443", f"bind 127.0.0.1:{self.port}").replace("log /dev/log local0", "log stderr format raw local0")
        text = text.replace("hdr Host localhost", f"hdr Host localhost:{self.port}").replace("inter 2s", "inter 300ms")
        text += "".join(f"    server replica{at} 127.0.0.1:{server.port}\n" for at, server in enumerate(self.servers, 1))
        file = self.folder / "haproxy.cfg"
        file.write_text(text)
        self.output = open(self.folder / "haproxy.log", "ab")
        self.balancer = subprocess.Popen([HAPROXY, "-db", "-f", str(file)], stdout=self.output, stderr=self.output)
        until = time.monotonic() + 20
        while Server.health(self) != b"ok":
            assert time.monotonic() < until and self.balancer.poll() is None, self.log()
            time.sleep(0.1)

    steward = None
    tls, person, with_token, second, agreed = Server.tls, Server.person, Server.with_token, Server.second, Server.agreed

    def at(self, person, server):
        """The same person, who speaks to one replica alone."""
        return Person(server, person.token, person.home)

    def log(self):
        logs = [server.log()[-3000:] for server in self.servers]
        return "\n--\n".join([*logs, (self.folder / "haproxy.log").read_text()[-2000:]])

    def psql(self, role, statement):
        return self.postgres.psql(self.name, "-c", statement, user=f"strongroom_{role}", password=self.passwords[role])

    def remove(self):
        for server in self.servers:
            if server.process and server.process.poll() is None:
                server.process.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.stop()
        self.balancer.kill()
        self.balancer.wait()
        self.output.close()
        if not self.beside:
            self.weed.remove()
            self.postgres.remove()


def blob(size):
    return secrets.token_bytes(1024) * (size // 1024)
