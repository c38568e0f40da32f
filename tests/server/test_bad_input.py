"""Whatever is sent, to every route that takes it: a 4xx with a reason, a record, and no change in any store."""

import contextlib
import hashlib
import json
import socket
import sqlite3
import ssl
import subprocess
import time

import pytest

from conftest import PROGRAM, commit

HOSTILE_PATHS = [
    "../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%252e%252e%252fetc",
    "a/../b",
    "a//b",
    "a%00b",
    "a%5cb",
    "..%5c..%5cwindows",
    "a%0d%0ab",
    "C:%5cx",
    ".git/config",
    "%E2%80%AEtxt.exe",
    "%ff%fe",
    "a" * 4096,
    "/".join("d" * 100),
]
HOSTILE_NAMES = ["..", "%2e%2e", "a%2fb", "a%00", "a" * 4096, "-a", "a--b", "a.git.git", "a%20b", "%C3%A9", "a%5cb", "a%23b"]
HOSTILE_REVISIONS = ["..", "a..b", "%2e%2e%2f", "a%20b", "a%00", "-x", "x" * 4096, "a%5c", "refs%2fheads%2f..%2fx", "%ff", "@%7b1%7d"]


@pytest.fixture(scope="module")
def repo(owner):
    owner.hf("repos", "create", "admin/bad")
    commit(owner, "admin/bad", {"README.md": b"hello"})
    return "admin/bad"


def stored(server):
    """Everything that a request could have changed, but for the log."""
    rows = []
    database = sqlite3.connect(f"file:{server.data}/catalog/catalog.db?mode=ro", uri=True)
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'orphan'").fetchall():
        rows.append((table, sorted(map(repr, database.execute(f"SELECT * FROM {table}")))))
    keeper = sqlite3.connect(f"file:{server.data}/keeper/keeper.db?mode=ro", uri=True)
    for table in ("principal", "token", "assignment", "line", "repo", "repo_name", "stop", "namespace"):
        # When a token was used last is no change that a request asked for.
        columns = "id, hash, body_sealed, expires_ms, revoked_ms" if table == "token" else "*"
        rows.append((table, sorted(map(repr, keeper.execute(f"SELECT {columns} FROM {table}")))))
    return rows


def records(server):
    keeper = sqlite3.connect(f"file:{server.data}/keeper/keeper.db?mode=ro", uri=True)
    return keeper.execute("SELECT COUNT(*) FROM audit_leaf").fetchone()[0]


class Refused:
    """Inside: each request is refused with a reason and recorded, and in the end nothing was changed."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.before = stored(self.server)
        return self

    def __call__(self, person, method, path, body=None, headers=None, statuses=range(400, 500)):
        count = records(self.server)
        answer = person.http(method, path, body, headers)
        assert answer.status in statuses, (method, path[:200], answer.status, answer.body[:300])
        assert method == "HEAD" or answer.json()["error"], (method, path[:200])
        assert answer.headers["X-Request-Id"]
        assert records(self.server) > count, (method, path[:200], "no record")

    def __exit__(self, *failed):
        if not any(failed):
            assert stored(self.server) == self.before


def test_hostile_paths_names_and_revisions_are_refused_on_every_route_that_takes_one(server, owner, repo):
    with Refused(server) as refused:
        for path in HOSTILE_PATHS:
            encoded = path.replace("/", "%2F")
            refused(owner, "GET", f"/{repo}/resolve/main/{path}")
            refused(owner, "HEAD", f"/{repo}/resolve/main/{path}")
            refused(owner, "GET", f"/api/models/{repo}/tree/main/{encoded}")
        for name in HOSTILE_NAMES:
            for route in ["/api/models/admin/{}", "/api/models/admin/{}/tree/main", "/api/models/{}/x/refs", "/admin/{}/resolve/main/a"]:
                refused(owner, "GET", route.format(name))
            refused(owner, "POST", f"/api/models/admin/{name}/preupload/main", {"files": []})
            refused(owner, "POST", f"/admin/{name}.git/info/lfs/objects/batch", {"operation": "upload", "objects": []})
        for revision in HOSTILE_REVISIONS:
            for method, route in [
                ("GET", "/api/models/{}/tree/{}"),
                ("GET", "/api/models/{}/revision/{}"),
                ("GET", "/api/models/{}/commits/{}"),
                ("GET", "/{}/resolve/{}/README.md"),
                ("POST", "/api/models/{}/branch/{}"),
                ("DELETE", "/api/models/{}/branch/{}"),
                ("DELETE", "/api/models/{}/tag/{}"),
            ]:
                refused(owner, method, route.format(repo, revision), {} if method == "POST" else None)


def test_hostile_bodies_are_refused(server, owner, repo):
    deep = b"[" * 100_000 + b"]" * 100_000
    with Refused(server) as refused:
        for path in [
            "/api/repos/create",
            "/api/repos/move",
            "/api/validate-yaml",
            f"/api/models/{repo}/preupload/main",
            f"/api/models/{repo}/tag/main",
            f"/{repo}.git/info/lfs/objects/batch",
            "/api/strongroom/v1/user",
            "/api/strongroom/v1/key/recover",
        ]:
            for body in [b"", b"{", b"null", b"[]", deep, b"\xff\xfe", b'{"name": {"a": 1}}', b"{}" * (2 << 20)]:
                refused(owner, "POST", path, body, {"Content-Type": "application/json"})
        for name in ["..", "a/b/c", "a b", "", "a" * 5000, "x.git", "é", "a\0"]:
            refused(owner, "POST", "/api/repos/create", {"name": name, "organization": "admin"})
            refused(owner, "POST", "/api/repos/create", {"name": "ok", "organization": name})
        for path in ["../x", "a\\b", "a\0", ".git/config", "/abs", "a" * 5000, ""]:
            refused(owner, "POST", f"/api/models/{repo}/preupload/main", {"files": [{"path": path, "size": 1, "sample": ""}]})
            refused(owner, "POST", f"/api/models/{repo}/paths-info/main", {"paths": [path]})
        for size in [-1, 2**63, 2**64, 1.5, "1", None]:
            refused(owner, "POST", f"/api/models/{repo}/preupload/main", {"files": [{"path": "a", "size": size, "sample": ""}]})
            body = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": size}]}
            if size != 2**63:
                refused(owner, "POST", f"/{repo}.git/info/lfs/objects/batch", body)
        for oid in ["", "0" * 63, "g" * 64, "A" * 64, "../" * 21 + "a", "0" * 65]:
            body = {"operation": "upload", "objects": [{"oid": oid, "size": 1}]}
            refused(owner, "POST", f"/{repo}.git/info/lfs/objects/batch", body)


def lines(*values):
    return "\n".join(json.dumps({"key": key, "value": value}) for key, value in values).encode()


HEAD = ("header", {"summary": "x"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        lines(("file", {"path": "a", "content": ""})),
        lines(HEAD, HEAD),
        lines(("header", {"summary": ""})),
        lines(("header", {"summary": "x", "parentCommit": "zz"})),
        lines(HEAD, ("file", {"path": "../a", "content": ""})),
        lines(HEAD, ("file", {"path": "a", "content": "not base64!", "encoding": "base64"})),
        lines(HEAD, ("file", {"path": "a", "content": "", "encoding": "rot13"})),
        lines(HEAD, ("file", {"path": "a", "content": ""}), ("file", {"path": "a", "content": ""})),
        lines(HEAD, ("file", {"path": "A.md", "content": ""}), ("file", {"path": "a.md", "content": ""})),
        lines(HEAD, ("file", {"path": "readme.md", "content": ""})),
        lines(HEAD, ("file", {"path": "README.md/below.md", "content": ""})),
        lines(HEAD, ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": "0" * 64, "size": 1})),
        lines(HEAD, ("lfsFile", {"path": "a.bin", "algo": "md5", "oid": "0" * 64, "size": 1})),
        lines(HEAD, ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": "0" * 64, "size": -1})),
        lines(HEAD, ("deletedFile", {"path": "nothing-here"})),
        lines(HEAD, ("copyFile", {"path": "a"})),
        lines(HEAD, ("file", {"path": "a", "content": ""}))[:-4],
        lines(HEAD) + b"\n" + b'{"key": "file", "value": {"path": "a", "content": "' + b"A" * 40_000_000,
    ],
)
def test_a_commit_that_is_not_one_changes_nothing(server, owner, repo, body):
    with Refused(server) as refused:
        refused(owner, "POST", f"/api/models/{repo}/commit/main", body, {"Content-Type": "application/x-ndjson"})


def test_an_object_named_by_hash_alone_is_never_linked(server, owner, repo):
    """Somebody who knows the hash of another's file gets nothing by it."""
    secret = b"the other's weights" * 100_000
    oid = hashlib.sha256(secret).hexdigest()
    other, thief = server.person("other-owner", ("owner", "others")), server.person("thief", ("owner", "thieves"))
    other.http("POST", "/api/repos/create", {"name": "x", "organization": "others"})
    thief.http("POST", "/api/repos/create", {"name": "x", "organization": "thieves"})
    (other.home / "w.bin").write_bytes(secret)
    other.hf("upload", "others/x", other.home / "w.bin", "w.bin")
    link = lines(HEAD, ("lfsFile", {"path": "w.bin", "algo": "sha256", "oid": oid, "size": len(secret)}))
    with Refused(server) as refused:
        refused(thief, "POST", "/api/models/thieves/x/commit/main", link)
    offer = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(secret)}]}
    # Whoever does not have the bytes is asked for them, as if nobody had.
    assert "actions" in thief.http("POST", "/thieves/x.git/info/lfs/objects/batch", offer).json()["objects"][0]


def test_what_one_writer_sent_and_did_not_commit_is_not_linked_by_another(server, owner, repo):
    one, two = server.person("sender", ("writer", "admin")), server.person("linker", ("writer", "admin"))
    content = b"not yet committed"
    oid = hashlib.sha256(content).hexdigest()
    offer = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(content)}]}
    offer = one.http("POST", f"/{repo}.git/info/lfs/objects/batch", offer).json()["objects"][0]
    assert one.http("PUT", offer["actions"]["upload"]["href"].removeprefix(server.url), content).status == 200
    link = lines(HEAD, ("lfsFile", {"path": "sent.bin", "algo": "sha256", "oid": oid, "size": len(content)}))
    with Refused(server) as refused:
        refused(two, "POST", f"/api/models/{repo}/commit/main", link)
    assert one.http("POST", f"/api/models/{repo}/commit/main", link).status == 200


def test_xorbs_and_shards_that_are_not_what_they_claim_are_refused(server, owner, repo):
    token = owner.http("GET", f"/api/models/{repo}/xet-write-token/main").json()
    cas = token["casUrl"].removeprefix(server.url)
    ticket = {"Authorization": f"Bearer {token['accessToken']}"}
    with Refused(server) as refused:
        for body in [b"", b"x" * 100, b"\0" * 16, b"\0\x03\0\0\0\x03\0\0abc"]:
            refused(owner, "POST", f"{cas}/v1/xorbs/default/{'0' * 64}", body, ticket)
            refused(owner, "POST", f"{cas}/v1/shards", body, ticket)
        refused(owner, "POST", f"{cas}/v1/xorbs/default/nothash", b"x", ticket)
        refused(owner, "GET", f"{cas}/v1/chunks/default/{'0' * 64}", None, ticket)
        # An access token is no ticket, a ticket no access token, and each is for its own repository.
        refused(owner, "POST", f"{cas}/v1/shards", b"x")
        refused(owner, "GET", f"/api/models/{repo}", None, ticket)
        refused(owner, "POST", f"/xet/{'0' * 32}-1/v1/shards", b"x", ticket)


def test_methods_that_a_route_has_not_and_overrides_are_refused(server, owner, repo):
    with Refused(server) as refused:
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]:
            refused(owner, method, f"/api/models/{repo}/refs")
        for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"]:
            refused(owner, "GET", f"/api/models/{repo}", None, {header: "DELETE"})


def raw(server, text, wait=10):
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        with server.tls().wrap_socket(plain, server_hostname="localhost") as connection:
            connection.settimeout(wait)
            connection.sendall(text)
            got = b""
            try:
                while piece := connection.recv(65536):
                    got += piece
            except TimeoutError:
                pass
            return got


def test_requests_that_two_readers_could_understand_differently_are_refused(server, owner, repo):
    host, auth = f"Host: localhost:{server.port}\r\n", f"Authorization: Bearer {owner.token}\r\nConnection: close\r\n"
    get = f"GET /api/models/{repo} HTTP/1.1\r\n"
    post = "POST /api/repos/create HTTP/1.1\r\n"
    assert raw(server, f"{get}{host}{auth}\r\n".encode()).startswith(b"HTTP/1.1 200")
    for text in [
        f"{get}{auth}\r\n",
        f"{get}{host}{host}{auth}\r\n",
        f"{get}Host: evil.example\r\n{auth}\r\n",
        f"GET https://evil.example/api/models/{repo} HTTP/1.1\r\n{host}{auth}\r\n",
        f"{post}{host}{auth}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"{post}{host}{auth}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}",
        f"{post}{host}{auth}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}",
        f"{post}{host}{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        f"{get}{host}{auth}Authorization: Bearer x\r\n\r\n",
        f"{get}{host}{auth}X: {'a' * 200_000}\r\n\r\n",
    ]:
        assert raw(server, text.encode())[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431"), text[:200]


def test_an_upload_that_is_cut_or_wrong_leaves_nothing_visible(server, owner, repo):
    content = b"z" * 3_000_000
    oid = hashlib.sha256(content).hexdigest()
    body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(content)}]}

    def href():
        offer = owner.http("POST", f"/{repo}.git/info/lfs/objects/batch", body).json()
        return offer["objects"][0]["actions"]["upload"]["href"].removeprefix(server.url)

    with Refused(server) as refused:
        refused(owner, "PUT", href(), content[:-1], statuses=[400])
        refused(owner, "PUT", href(), content + b"z", statuses=[400, 413])
        refused(owner, "PUT", href(), b"y" * len(content), statuses=[400])
        refused(owner, "PUT", href()[:-2] + "AA", content, statuses=[401])
        head = f"PUT {href()} HTTP/1.1\r\nHost: localhost:{server.port}\r\nContent-Length: {len(content)}\r\n\r\n"
        raw(server, head.encode() + content[:100_000], wait=1)
        link = lines(HEAD, ("lfsFile", {"path": "z.bin", "algo": "sha256", "oid": oid, "size": len(content)}))
        refused(owner, "POST", f"/api/models/{repo}/commit/main", link)
    time.sleep(0.5)
    # Staged parts of what was cut are gone.
    assert [path.name for path in (server.data / "objects").rglob("*#*")] == []


def test_a_ticket_is_for_its_own_method_and_repository(server, owner, repo):
    body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "1" * 64, "size": 5}]}
    offer = owner.http("POST", f"/{repo}.git/info/lfs/objects/batch", body).json()
    path = offer["objects"][0]["actions"]["upload"]["href"].removeprefix(server.url)
    with Refused(server) as refused:
        refused(owner, "GET", path, statuses=[401])


QUICK = """
[server]
connections_max = 4
handshake_timeout = "1s"
header_timeout = "2s"
body_timeout = "1s"
stall_timeout = "2s"
"""


def closed_after(connection, send=b""):
    """Seconds until the server closes."""
    connection.settimeout(20)
    began = time.monotonic()
    try:
        connection.sendall(send)
        while connection.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return time.monotonic() - began


@contextlib.contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        with server.tls().wrap_socket(plain, server_hostname="localhost") as connection:
            yield connection


def test_silent_slow_and_idle_clients_are_closed_when_the_configuration_says(make_server):
    server = make_server(QUICK)
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        assert 0.5 < closed_after(plain) < 5
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % server.port
    for sent in [b"", b"GET /healthz HTTP/1.1\r\n", whole]:
        with connected(server) as connection:
            assert 1 < closed_after(connection, sent) < 6, sent
    head = f"POST /api/repos/create HTTP/1.1\r\nHost: localhost:{server.port}\r\nAuthorization: Bearer {server.owner.token}\r\n"
    with connected(server) as connection:
        began = time.monotonic()
        connection.settimeout(20)
        connection.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408"), "a body that stopped coming"
        assert time.monotonic() - began < 5


def test_connections_beyond_the_bound_wait_and_are_served_later(make_server):
    server = make_server(QUICK)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connected(server))
        # None is free: this one waits until the silent ones are closed, and is then served.
        began = time.monotonic()
        assert server.health() == b"ok"
        assert time.monotonic() - began > 0.8


def test_a_configuration_with_an_unknown_key_stops_the_start_and_names_the_line(tmp_path):
    file = tmp_path / "strongroom.toml"
    for text, line in [("[server]\nlisten = '127.0.0.1:1'\nlissten = 1\n", "line 3"), ("[tokens]\nlife_max = 'long'\n", "line 2"), ("[server]\nheader_timeout = '0s'\n", "line 2")]:
        file.write_text(text)
        done = subprocess.run([PROGRAM, "serve", "--config", str(file)], capture_output=True, text=True)
        assert done.returncode == 1 and line in done.stderr, done.stderr
