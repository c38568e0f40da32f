"""The real server, started as a newcomer would, and the people who use it."""

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from postgres import Postgres
from weed import Weed

PROGRAM = os.environ["STRONGROOM_BIN"]
PEERS = Path(os.environ["STRONGROOM_TEST_PEERS"])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def waiting(told):
    """The number under which what was asked for waits for a second person, where the server told so."""
    found = re.search(r"approval approve (\d+)", told)
    return found and found[1]


class Stores:
    """Where the servers of this run keep what they hold: files; or PostgreSQL where STRONGROOM_TEST_DATABASE says so, and with
    it a bucket where STRONGROOM_TEST_OBJECTS does."""

    def __init__(self):
        self.postgres = self.weed = None
        if os.environ.get("STRONGROOM_TEST_DATABASE") == "postgres":
            self.postgres = Postgres()
            atexit.register(self.postgres.remove)
        # The store keeps its own names in PostgreSQL.
        if os.environ.get("STRONGROOM_TEST_OBJECTS") == "s3":
            self.weed = Weed(self.postgres)
            atexit.register(self.weed.remove)


STORES = Stores()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Person:
    """Somebody with a token (or none), who speaks HTTP, the hf CLI, or the strongroom CLI."""

    def __init__(self, server, token, home):
        self.server, self.token, self.home = server, token, Path(home)
        self.home.mkdir(parents=True, exist_ok=True)

    def http(self, method, path, body=None, headers=None, token=True):
        headers = dict(headers or {})
        if token and self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if isinstance(body, (dict, list)):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.server.url + path, data=body, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=self.server.tls()), NoRedirect)
        try:
            with opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    @contextlib.contextmanager
    def slowly(self, path, body=None):
        """A connection over which a path was asked for, and which takes little by itself: whoever has it takes what they like."""
        body = b"" if body is None else json.dumps(body).encode()
        method, more = ("POST", f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n") if body else ("GET", "")
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with self.server.tls().wrap_socket(plain, server_hostname="localhost") as connection:
                head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{self.server.port}\r\n{more}"
                connection.sendall(f"{head}Authorization: Bearer {self.token}\r\n\r\n".encode() + body)
                yield connection

    def environment(self, client="current"):
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "HF_ENDPOINT": self.server.url,
            "HF_TOKEN": self.token or "",
            # The three clients read three names for the same file; each ignores the others.
            "SSL_CERT_FILE": str(self.server.ca),
            "REQUESTS_CA_BUNDLE": str(self.server.ca),
            "STRONGROOM_URL": self.server.url,
            "STRONGROOM_CA": str(self.server.ca),
            "STRONGROOM_TOKEN": self.token or "",
        }

    def hf(self, *arguments, client="current", fails=False):
        # Version 1 and later bring `hf`; 0.36 has it too.
        return self.run([PEERS / client / "bin" / "hf", *arguments], fails)

    def python(self, program, client="current", fails=False):
        return self.run([PEERS / client / "bin" / "python", "-c", program], fails)

    def strongroom(self, *arguments, fails=False):
        done = self.run([PROGRAM, *arguments, "--json"], fails)
        return done if fails else json.loads(done.stdout)

    def run(self, command, fails=False, **more):
        command = [str(part) for part in command]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=300, **more)
        if fails is not None and (done.returncode != 0) != fails:
            raise AssertionError(f"{command} → {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.server.log()}")
        return done


class Server:
    program = PROGRAM
    steward = None

    def __init__(self, folder, config="", sealed=(), root_key=None):
        self.folder = Path(folder)
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.data = self.folder / "data"
        self.root_key = root_key or self.folder / "keys" / "root.key"
        self.ca = self.data / "tls" / "ca.pem"
        self.arguments = ["--data-dir", self.data, "--root-key", self.root_key, "--listen", f"127.0.0.1:{self.port}"]
        self.bucket = None
        if STORES.postgres and "[database]" not in config:
            config += STORES.postgres.database(self.folder)[2]
        if STORES.weed and "[objects]" not in config:
            self.bucket, more = STORES.weed.bucket(self.folder)
            config += more
        if config:
            file = self.folder / "strongroom.toml"
            file.write_text(config)
            self.arguments += ["--config", file]
        self.process = None
        self.people = 0
        command = [PROGRAM, "init", *map(str, self.arguments), *sealed, "--json"]
        if sealed and "--root-shares" in sealed:
            command = [part for part in command if part not in ("--root-key", str(self.root_key))]
            self.arguments = [part for part in self.arguments if part not in ("--root-key", self.root_key)]
        text = subprocess.run(command, capture_output=True, text=True)
        assert text.returncode == 0, text.stderr
        self.made = json.loads(text.stdout)
        self.start(b"sealed" if sealed else b"ok")
        # A replica makes nobody.
        self.owner = Person(self, self.made.get("admin_token"), self.folder / "home-owner")

    def start(self, answer=b"ok"):
        self.output = open(self.folder / "server.log", "ab")
        command = [self.program, "serve", *map(str, self.arguments)]
        self.process = subprocess.Popen(command, stdout=self.output, stderr=self.output)
        self.wait(answer=answer)

    def wait(self, seconds=20, answer=b"ok"):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            if self.health() == answer:
                return
            time.sleep(0.05)
        raise AssertionError("the server does not answer\n" + self.log())

    def health(self):
        try:
            with urllib.request.urlopen(self.url + "/healthz", context=self.tls(), timeout=5) as answer:
                return answer.read()
        except OSError:
            return None

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=40)
        self.output.close()

    def tls(self):
        return ssl.create_default_context(cafile=str(self.ca))

    def objects(self):
        """How many payloads are stored."""
        if self.bucket:
            return STORES.weed.shell(f"fs.du /buckets/strongroom-rooms/{self.bucket}\n")
        return sum(1 for path in (self.data / "objects").rglob("*") if path.is_file())

    def log(self):
        return (self.folder / "server.log").read_text()

    def child(self, role):
        """The process id of the keeper or the gate."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            # The command line of a process that is not dumpable can still be read by root and by its own user.
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile, as those of a sealed server do.
            if role in command.split("\0")[1:2]:
                return int(child)
        return None

    def person(self, name, *roles, scope=()):
        """A principal with roles such as ("writer", "acme"), and a token."""
        self.owner.strongroom("user", "create", name)
        for role, place in roles:
            if (role, place) == ("admin", None):
                self.second()
            where = ["--system"] if place is None else ["--repo", place] if "/" in place else ["--namespace", place]
            self.agreed("role", "grant", name, role, *where)
        return self.with_token(name, *scope)

    def second(self):
        """A second administrator, who agrees to what the first one asks."""
        if self.steward is None:
            self.owner.strongroom("user", "create", "steward")
            self.owner.strongroom("role", "grant", "steward", "admin", "--system")
            given = self.with_token("steward")
            self.steward = Person(self, given.strongroom("token", "claim")["token"], self.folder / "home-steward")
        return self.steward

    def agreed(self, *command):
        """What the owner does, with a second administrator's agreement where it needs that."""
        done = self.owner.run([PROGRAM, *command, "--json"], fails=None)
        number = waiting(done.stderr)
        if not number:
            assert done.returncode == 0, f"{command}\n{done.stderr}\n{self.log()}"
            return json.loads(done.stdout)
        return self.second().strongroom("approval", "approve", number)["done"]

    def with_token(self, name, *scope, expires="12h"):
        scopes = [part for word in scope for part in ("--scope", word)]
        made = self.owner.strongroom("token", "create", "--user", name, "--expires", expires, *scopes)
        self.people += 1
        person = Person(self, made["token"], self.folder / f"home-{name}-{self.people}")
        person.token_id = made["id"]
        return person

    def stranger(self):
        return Person(self, None, self.folder / "home-stranger")


def age_key(owner, name, folder):
    """A key of Debian's age for somebody, to whom files are delivered sealed from then on."""
    key = Path(folder) / f"{name}.key"
    made = subprocess.run(["age-keygen", "-o", key], capture_output=True, text=True, check=True)
    owner.strongroom("user", "recipient", name, re.search(r"age1[a-z0-9]+", made.stderr)[0])
    return key


def with_budgets(folder, text):
    """Configuration of a server whose budgets are these, and whose other policies are those that are shipped."""
    policies = Path(folder) / "policies"
    policies.mkdir(parents=True)
    for file in (Path(__file__).parents[2] / "policies").iterdir():
        (policies / file.name).write_bytes(file.read_bytes())
    (policies / "budgets.toml").write_text(text)
    return f'[policies]\nfolder = "{policies}"\n'


def policies(folder, **dual_control):
    """Configuration with a folder of the shipped policies, in which the two-person rule has other values."""
    shutil.copytree(Path(__file__).parents[2] / "policies", folder)
    file = folder / "dual-control.toml"
    text = file.read_text()
    for name, value in dual_control.items():
        text, count = re.subn(rf"(?m)^{name} = .*", f"{name} = {json.dumps(value)}", text)
        assert count == 1, name
    file.write_text(text)
    return f'[policies]\nfolder = "{folder}"\n'


def unlimited(folder):
    """Configuration for a benchmark, which reads more than any person may: the shipped lines of budgets, far away or gone, and
    nobody beside the owner who must agree."""
    config = policies(Path(folder), share=[])
    file = Path(folder) / "budgets.toml"
    text = re.sub(r'soft = "\d+GiB", hard = "\d+GiB"', 'hard = "1000000GiB"', file.read_text())
    file.write_text(re.sub(r"(?m)^repositories_per_.*\n", "", text))
    return config


@pytest.fixture
def make_server(tmp_path_factory):
    """A server of the test's own, with a configuration of its own."""
    made = []

    def make(config=""):
        made.append(Server(tmp_path_factory.mktemp("server"), config))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def held_by_people(folder, how):
    """A sealed server whose root key is in shares or under a passphrase, and what opens it: as many lines as are needed."""
    phrase = folder / "phrase"
    phrase.write_text("correct horse battery staple\n")
    server = Server(folder, sealed=["--root-shares", "2of3"] if how == "shares" else ["--passphrase-file", str(phrase)])
    return server, server.made["root_key_shares"] if how == "shares" else [phrase.read_text()]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def owner(server):
    return server.owner


def commit(person, repo, files, kind="model", fails=None):
    """A commit over HTTP as clients send it; files: path → bytes."""
    import base64

    lines = [{"key": "header", "value": {"summary": "test", "description": ""}}]
    for path, content in files.items():
        value = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
        lines.append({"key": "file", "value": value})
    body = "\n".join(json.dumps(line) for line in lines).encode()
    headers = {"Content-Type": "application/x-ndjson"}
    answer = person.http("POST", f"/api/{kind}s/{repo}/commit/main", body, headers)
    if fails is None:
        assert answer.status == 200, answer.body
    return answer
