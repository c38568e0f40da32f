"""The six promises, each told with the people it matters to."""

import json
import os
import secrets
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import Person, commit, with_budgets, waiting

FILES = {
    "README.md": b"# public words\n",
    "config.json": b'{"layers": 2}',
    "model.safetensors": os.urandom(200_000),
    "logs/run-quokka.txt": b"loss 0.1 secret-of-the-log\n",
    "train.py": b"print(1)\n",
    "data/people.csv": b"name\nplanted-person\n",
}


@pytest.fixture(scope="module")
def repo(owner):
    owner.hf("repos", "create", "admin/vault")
    commit(owner, "admin/vault", FILES)
    return "admin/vault"


# 1. TLS or nothing


def test_plain_http_and_old_tls_get_no_answer(server):
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plain.settimeout(15)
        assert b"ok" not in plain.recv(4096)
    context = server.tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            context.wrap_socket(plain, server_hostname="localhost")


def test_only_healthz_answers_without_a_credential(server, repo):
    stranger = server.stranger()
    for method, path in [
        ("GET", f"/api/models/{repo}"),
        ("GET", "/api/models"),
        ("GET", "/api/whoami-v2"),
        ("HEAD", f"/{repo}/resolve/main/README.md"),
        ("GET", f"/{repo}/resolve/main/README.md"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("POST", "/api/strongroom/v1/user"),
        ("POST", "/api/strongroom/v1/alert"),
        ("POST", "/api/strongroom/v1/decoy"),
        ("POST", "/api/strongroom/v1/partner"),
        ("POST", "/api/strongroom/v1/partner/sponsored"),
        ("POST", "/api/strongroom/v1/review"),
    ]:
        answer = stranger.http(method, path, {"a": 1} if method == "POST" else None)
        assert answer.status in (400, 401), (method, path, answer.status)
    assert stranger.http("GET", "/healthz").body == b"ok"


# 2. No grant, no key; no key, no bytes


def test_a_known_person_without_a_right_cannot_tell_a_repository_from_nothing(server, repo):
    outsider = server.person("outsider", ("writer", "elsewhere"))
    for path in ["/api/models/{}", "/api/models/{}/tree/main", "/{}/resolve/main/README.md", "/api/models/{}/refs"]:
        there, nothing = (outsider.http("GET", path.format(name)) for name in (repo, "admin/nothing-here"))
        assert there.status == nothing.status == 404
        assert there.body == nothing.body
        varying = {"date", "x-request-id"}
        heads = [{k.lower(): v for k, v in a.headers.items() if k.lower() not in varying} for a in (there, nothing)]
        assert heads[0] == heads[1]
    assert outsider.http("GET", "/api/models").json() == []


def test_a_reader_sees_no_trace_of_the_logs_and_a_writer_does(server, repo):
    reader, writer = server.person("reader1", ("reader", "admin")), server.person("writer1", ("writer", "admin"))
    listed = {line["path"] for line in reader.http("GET", f"/api/models/{repo}/tree/main?recursive=true").json()}
    assert "README.md" in listed and not any("logs" in path for path in listed)
    assert "quokka" not in reader.http("GET", f"/api/models/{repo}").body.decode()
    hidden = reader.http("GET", f"/{repo}/resolve/main/logs/run-quokka.txt")
    missing = reader.http("GET", f"/{repo}/resolve/main/logs/nothing.txt")
    assert (hidden.status, hidden.body) == (missing.status, missing.body) and hidden.status == 404
    assert writer.http("GET", f"/{repo}/resolve/main/logs/run-quokka.txt").body == FILES["logs/run-quokka.txt"]


def test_a_token_is_no_wider_than_its_scope(server, repo):
    server.person("scoped", ("owner", "admin"))
    narrow = server.with_token("scoped", "repo:admin/vault", "action:repo.read", "compartment:docs")
    assert narrow.http("GET", f"/{repo}/resolve/main/README.md").body == FILES["README.md"]
    assert narrow.http("GET", f"/{repo}/resolve/main/model.safetensors").status == 404
    assert commit(narrow, repo, {"README.md": b"x"}, fails=True).status == 403
    assert narrow.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"}).status == 403


def test_a_partner_with_one_role_in_one_repository_reads_that_one(server, repo, owner):
    commit_to = "admin/other"
    owner.hf("repos", "create", commit_to)
    partner = server.person("partner1", ("reader", "admin/vault"))
    assert partner.http("GET", f"/{repo}/resolve/main/README.md").status == 200
    assert partner.http("GET", f"/{commit_to}/resolve/main/.gitattributes").status == 404
    assert [row["id"] for row in partner.http("GET", "/api/models").json()] == [repo]


def test_a_denial_wins_over_every_role(server, repo, owner):
    writer = server.person("denied", ("owner", "admin"))
    assert writer.http("GET", f"/{repo}/resolve/main/model.safetensors").status == 200
    owner.strongroom("role", "deny", "denied", "repo.read", "--compartment", "weights", "--namespace", "admin")
    assert writer.http("GET", f"/{repo}/resolve/main/model.safetensors").status == 404
    assert writer.http("GET", f"/{repo}/resolve/main/README.md").status == 200


def test_administrators_and_auditors_read_no_content(server, repo):
    for name, role in [("admin2", "admin"), ("auditor2", "auditor"), ("security2", "security")]:
        person = server.person(name, (role, None))
        assert person.http("GET", f"/{repo}/resolve/main/README.md").status == 404, role
        assert person.http("GET", "/api/models").json() == [], role


def test_the_kernel_refuses_the_gate_everything_but_its_stores(server):
    # The gate tries each of these itself when it starts, and says which it could.
    assert "the keeper's database, the root key, /etc/passwd, programs and sockets are refused" in server.log()
    status = Path(f"/proc/{server.child('gate')}/status").read_text()
    assert re.search(r"Seccomp:\s+2", status) and re.search(r"NoNewPrivs:\s+1", status)
    status = Path(f"/proc/{server.child('keeper')}/status").read_text()
    assert re.search(r"NoNewPrivs:\s+1", status)


def bech32_bytes(text):
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    values = [alphabet.index(c) for c in text.strip().lower().split("1")[1]][:-6]
    bits = "".join(f"{value:05b}" for value in values)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8))


def memory_holds(pid, needles):
    found = set()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights = line.split()[:2]
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except OSError:
                continue
            found |= {name for name, needle in needles.items() if needle in content}
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")
def test_the_root_key_is_in_the_keepers_memory_and_never_in_the_gates(server, owner, repo):
    text = [line for line in server.root_key.read_text().splitlines() if line.startswith("AGE-SECRET")][0]
    secret = bech32_bytes(text)
    assert len(secret) == 32
    for path in FILES:
        owner.http("GET", f"/{repo}/resolve/main/{path}")
    needles = {"text": text.encode(), "bytes": secret}
    # The search itself works: where the key must be, it is found.
    assert "bytes" in memory_holds(server.child("keeper"), needles)
    assert memory_holds(server.child("gate"), needles) == set()


def test_a_recovery_identity_that_lies_offline_opens_a_repositorys_secret(make_server, tmp_path):
    """A root key that is lost loses nothing: the stock age opens what the keeper wrapped."""
    safe = tmp_path / "safe.txt"
    made = subprocess.run(["age-keygen", "-o", safe], capture_output=True, text=True)
    recipient = re.search(r"age1[a-z0-9]+", made.stderr)[0]
    server = make_server(f'[root_key]\nrecovery = ["{recipient}"]\n')
    server.owner.http("POST", "/api/repos/create", {"name": "kept", "organization": "admin"})
    commit(server.owner, "admin/kept", {"README.md": b"words"})
    with sqlite3.connect(server.data / "keeper" / "keeper.db") as database:
        wrapped = [row[0] for row in database.execute("SELECT secret FROM repo")]
        wrapped += [row[0] for row in database.execute("SELECT value FROM instance WHERE name = 'secret'")]
    assert len(wrapped) == 2
    for file in wrapped:
        opened = [
            subprocess.run(["age", "-d", "-i", identity], input=file, capture_output=True) for identity in (safe, server.root_key)
        ]
        assert len(opened[0].stdout) == 32 and opened[0].stdout == opened[1].stdout, opened
    file = tmp_path / "strongroom.toml"
    file.write_text('[root_key]\nrecovery = ["age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"]\n')
    refused = subprocess.run([server.program, "serve", "--config", file], capture_output=True, text=True)
    assert refused.returncode == 1 and "line 2" in refused.stderr and "native" in refused.stderr, refused.stderr


def test_one_command_names_what_a_credential_could_reach_and_exactly_what_it_read(make_server):
    server = make_server()
    owner = server.owner
    for name in ("one", "two", "three"):
        owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"})
        commit(owner, f"admin/{name}", FILES)
    analyst = server.person("analyst", ("auditor", None))
    thief = server.person("thief", ("reader", "admin/one"), ("writer", "admin/two"))
    narrow = server.with_token("thief", "repo:admin/two", "compartment:config", "compartment:docs", "action:repo.read")
    whole = thief.http("GET", "/admin/one/resolve/main/config.json")
    for part in ("bytes=0-99", "bytes=100-199", "bytes=1000-1999"):
        thief.http("GET", "/admin/two/resolve/main/model.safetensors", headers={"Range": part})
    assert thief.http("GET", "/admin/one/resolve/main/logs/run-quokka.txt").status == 404
    assert thief.http("GET", "/admin/three/resolve/main/config.json").status == 404
    narrow.http("GET", "/admin/two/resolve/main/README.md")
    assert narrow.http("GET", "/admin/two/resolve/main/model.safetensors").status == 404
    owner.strongroom("token", "revoke", narrow.token_id)

    def what(*arguments):
        found = analyst.strongroom("audit", "what", *arguments)
        could = {(each["repo"], right["action"], *right.get("compartments", [])) for each in found["could"] for right in each["rights"]}
        return found, could, {(each["repo"], each["path"]): each for each in found["did"]["read"]}

    found, could, read = what("--principal", "thief")
    assert {repo for repo, *_ in could} == {"admin/one", "admin/two"}
    assert ("admin/two", "repo.write", "docs", "config", "weights", "data", "logs", "code") in could
    assert not any("logs" in right for repo, *right in could if repo == "admin/one")
    assert set(read) == {("admin/one", "config.json"), ("admin/two", "model.safetensors"), ("admin/two", "README.md")}
    weights = read["admin/two", "model.safetensors"]
    assert weights["ranges"] == [[0, 200], [1000, 2000]] and weights["bytes"] == 1200 and weights["opened"] == 3
    assert weights["compartment"] == "weights" and weights["addresses"] == ["127.0.0.1"]
    assert read["admin/one", "config.json"]["commit"] == whole.headers["X-Repo-Commit"]
    until = time.monotonic() + 10
    while found["did"]["bytes_sent"] < 1200 + len(FILES["config.json"]) + len(FILES["README.md"]) and time.monotonic() < until:
        time.sleep(0.1)
        found, _, _ = what("--principal", "thief")
    assert found["did"]["bytes_sent"] == 1200 + len(FILES["config.json"]) + len(FILES["README.md"])
    assert found["did"]["denied"] == 1 and found["system"] == ["whoami"]
    # A token alone, narrower than its owner, and still answered for after it was revoked.
    found, could, read = what("--token", narrow.token_id)
    assert could == set() and found["stopped"] == "token revoked" and set(read) == {("admin/two", "README.md")}
    assert found["revoked"] and what("--principal", "thief", "--until", "1h")[2] == {}
    # A lock is told as what it is: nothing is in reach.
    assert what("--principal", "thief")[0]["stopped"] is None and what("--token", str(thief.token_id))[1]
    owner.strongroom("lock", "add", "--token", str(thief.token_id))
    found, could, read = what("--token", str(thief.token_id))
    assert (found["stopped"], could, found["system"]) == ("token locked", set(), []) and read
    owner.strongroom("lock", "add", "--user", "thief")
    found, could, read = what("--principal", "thief")
    assert (found["stopped"], could, found["system"]) == ("principal locked", set(), []) and read
    owner.strongroom("lock", "remove", "--user", "thief")
    owner.strongroom("lock", "remove", "--token", str(thief.token_id))
    # Who asks is recorded, and who may not is refused.
    thief.strongroom("audit", "what", "--principal", "admin", fails=True)
    asked = analyst.strongroom("audit", "search", "--action", "audit.what", "--principal", "analyst")["records"]
    assert len(asked) >= 3 and all(record["outcome"] == "allowed" for record in asked)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")
def test_what_passed_through_is_not_in_memory_once_its_connections_are_closed(make_server, tmp_path):
    """Tokens, file contents and names: a core image or a hole that reads memory finds what is in use, not what was."""
    server = make_server()
    owner, planted = server.owner, secrets.token_hex(24)
    reader = server.person("passer-by", ("writer", "admin"))
    server.owner.hf("repos", "create", "admin/passing")
    commit(reader, "admin/passing", {f"{planted[:16]}-name.md": f"small {planted[16:32]} text".encode()})
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(2_000_000) + planted[32:].encode() + os.urandom(2_000_000))
    reader.hf("upload", "admin/passing", large, "large.bin")
    reader.hf("upload", "admin/passing", large, "older.bin", client="hf036")
    reader.hf("download", "admin/passing", "--local-dir", tmp_path / "copy")
    assert (tmp_path / "copy" / "large.bin").read_bytes() == large.read_bytes()
    needles = {
        "token": reader.token.encode(), "name": planted[:16].encode(), "small file": planted[16:32].encode(),
        "large file": planted[32:].encode(),
    }
    gate, keeper = server.child("gate"), server.child("keeper")
    # While a request is under way, its token is there: the search itself works.
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        with server.tls().wrap_socket(plain, server_hostname="localhost") as connection:
            head = f"POST /api/repos/create HTTP/1.1\r\nHost: localhost:{server.port}\r\nAuthorization: Bearer {reader.token}\r\n"
            connection.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
            time.sleep(0.5)
            assert "token" in memory_holds(gate, needles)
    time.sleep(1)
    assert memory_holds(gate, needles) == set()
    assert memory_holds(keeper, needles) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into a process that is not dumpable")
def test_the_keeper_listens_to_no_network(server):
    keeper = server.child("keeper")
    inodes = {os.readlink(path) for path in Path(f"/proc/{keeper}/fd").iterdir()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{keeper}/net/{table}").read_text().splitlines()[1:]:
            assert f"socket:[{line.split()[9]}]" not in inodes


def test_break_glass_gives_an_age_file_that_the_stock_age_opens(server, owner, repo, tmp_path):
    glass = server.person("breaker", ("admin", None))
    out, identity = tmp_path / "out.age", tmp_path / "identity.txt"
    arguments = ["key", "recover", "--repo", repo, "--path", "model.safetensors", "--out", out, "--identity-out", identity]
    assert not glass.strongroom(*arguments, fails=True).stdout
    assert not out.exists()
    for name in ("breaker", "steward"):
        for compartment in ("weights", "docs"):
            server.agreed("role", "allow", name, "key.recover", "--compartment", compartment, "--namespace", "admin")
    server.second().strongroom("approval", "approve", waiting(glass.strongroom(*arguments, fails=True).stderr))
    glass.strongroom(*arguments)
    opened = subprocess.run(["age", "-d", "-i", identity, out], capture_output=True, check=True).stdout
    assert opened == FILES["model.safetensors"]
    # That identity opens this object alone.
    second = ["key", "recover", "--repo", repo, "--path", "README.md", "--out", tmp_path / "r.age", "--identity-out", tmp_path / "r.txt"]
    server.second().strongroom("approval", "approve", waiting(glass.strongroom(*second, fails=True).stderr))
    glass.strongroom(*second)
    wrong = subprocess.run(["age", "-d", "-i", identity, tmp_path / "r.age"], capture_output=True)
    assert wrong.returncode != 0
    found = owner.strongroom("audit", "search", "--action", "object.recover", "--principal", "breaker")["records"]
    assert [(r["path"], r["outcome"]) for r in found][:2] == [("README.md", "allowed"), ("model.safetensors", "allowed")]


# 3. Nothing readable at rest


def test_a_stolen_disk_shows_no_name_no_word_and_no_token(server, owner, repo):
    person = server.person("wallaby-user", ("writer", "kangaroo-namespace"), ("owner", "kangaroo-namespace"))
    person.http("POST", "/api/repos/create", {"name": "numbat-repo", "organization": "kangaroo-namespace"})
    commit(person, "kangaroo-namespace/numbat-repo", {"bilby-name.txt": b"echidna-content " * 1000})
    person.http("POST", "/api/models/kangaroo-namespace/numbat-repo/branch/possum-branch", {})
    person.http("GET", "/kangaroo-namespace/numbat-repo/resolve/main/bilby-name.txt")
    planted = ["wallaby-user", "kangaroo", "numbat", "bilby", "echidna", "possum", "quokka", "planted-person"]
    planted += ["secret-of-the-log", "public words", "127.0.0.1", owner.token, person.token, "AGE-SECRET-KEY"]
    seen = 0
    for path in server.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            seen += 1
            # The certificate names the host that it is for.
            words = [word for word in planted if not (path.parent.name == "tls" and word == "127.0.0.1")]
            assert [word for word in words if word.lower().encode() in content] == [], path
    assert seen > 10
    log = server.log()
    assert owner.token not in log and person.token not in log and "bilby" not in log


def test_a_swapped_envelope_or_payload_is_refused_before_its_first_byte(make_server):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/swap")
    commit(owner, "admin/swap", {"a.md": b"A" * 100, "b.md": b"B" * 100})
    assert owner.http("GET", "/admin/swap/resolve/main/a.md").body == b"A" * 100
    database = sqlite3.connect(server.data / "catalog" / "catalog.db")
    rows = database.execute("SELECT object, header FROM envelope WHERE compartment = 'docs'").fetchall()
    (one, head_one), (two, head_two) = rows
    database.execute("UPDATE envelope SET header = ? WHERE object = ?", (head_two, one))
    database.execute("UPDATE envelope SET header = ? WHERE object = ?", (head_one, two))
    database.commit()
    for name in "ab":
        answer = owner.http("GET", f"/admin/swap/resolve/main/{name}.md")
        assert answer.status == 500 and b"AAAA" not in answer.body and b"BBBB" not in answer.body
    database.execute("UPDATE envelope SET header = ? WHERE object = ?", (head_one, one))
    database.execute("UPDATE envelope SET header = ? WHERE object = ?", (head_two, two))
    database.commit()
    paths = [server.data / "objects" / i.hex()[:2] / i.hex()[2:] for i in (one, two)]
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second), paths[1].write_bytes(first)
    for name in "ab":
        try:
            answer = owner.http("GET", f"/admin/swap/resolve/main/{name}.md")
            assert b"AAAA" not in answer.body and b"BBBB" not in answer.body
        except OSError:
            pass  # cut before the first byte


# 4. No decision without a record


def test_who_read_what_is_in_the_log_with_the_bytes_really_sent(server, owner, repo):
    reader = server.person("reader4", ("reader", "admin"))
    reader.http("GET", f"/{repo}/resolve/main/model.safetensors", headers={"Range": "bytes=100-299"})
    reader.http("GET", f"/{repo}/resolve/main/logs/run-quokka.txt")
    time.sleep(0.3)
    found = owner.strongroom("audit", "search", "--principal", "reader4")["records"]
    by_action = {record["action"]: record for record in found}
    opened, delivered = by_action["object.open"], by_action["object.deliver"]
    assert opened["path"] == delivered["path"] == "model.safetensors" and opened["range"] == [100, 300]
    assert delivered["bytes"] == 200 and delivered["outcome"] == "done" and opened["compartments"] == ["weights"]
    assert opened["token"] == reader.token_id and opened["address"] == "127.0.0.1" and opened["repo"] == repo
    assert opened["generation"] >= 1 and opened["request_id"]
    assert {record["path"] for record in found if record["action"] == "repo.read"} == {
        "model.safetensors",
        "logs/run-quokka.txt",
    }


def test_failed_logins_malformed_requests_and_the_analysts_own_reading_are_records_too(server, owner, repo):
    Person(server, "srt_nonsense", server.folder / "home-x").http("GET", f"/api/models/{repo}")
    server.stranger().http("GET", f"/api/models/{repo}")
    owner.http("GET", f"/{repo}/resolve/main/..%2f..%2fetc%2fpasswd")
    owner.http("GET", "/no/such/route/at/all")
    found = owner.strongroom("audit", "search", "--limit", "30")["records"]
    reasons = {(record["outcome"], record.get("reason", "")) for record in found}
    assert ("denied", "not a token of this server, or mistyped") in reasons
    assert ("denied", "no credential") in reasons
    assert any(outcome == "malformed" and reason.startswith("400") for outcome, reason in reasons)
    assert ("malformed", "404 no such route") in reasons
    assert owner.strongroom("audit", "search", "--action", "audit.search")["records"]


def test_a_cut_download_is_recorded_as_cut(server, owner, repo):
    commit(owner, repo, {"long.md": os.urandom(9_000_000)})
    with owner.slowly(f"/{repo}/resolve/main/long.md") as connection:
        connection.recv(1000)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = owner.strongroom("audit", "search", "--outcome", "cut")["records"]
        if found:
            break
        time.sleep(0.2)
    assert found[0]["path"] == "long.md" and found[0]["bytes"] < 9_000_000


def test_where_the_log_cannot_be_written_nothing_is_answered(make_server):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    commit(owner, "admin/x", {"a.md": b"words"})
    lock = sqlite3.connect(server.data / "keeper" / "keeper.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    answer = owner.http("GET", "/admin/x/resolve/main/a.md")
    assert answer.status == 503 and b"words" not in answer.body
    lock.execute("ROLLBACK")
    until = time.monotonic() + 15
    while owner.http("GET", "/admin/x/resolve/main/a.md").status != 200 and time.monotonic() < until:
        time.sleep(0.2)
    assert owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"


# 5. No silent history


def tampered(copy, statement):
    database = sqlite3.connect(copy)
    assert database.execute(statement).rowcount > 0
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_leaf SET time_ms = time_ms + 1 WHERE seq = 3",
        "UPDATE audit_leaf SET body_sealed = (SELECT body_sealed FROM audit_leaf WHERE seq = 2) WHERE seq = 3",
        "DELETE FROM audit_leaf WHERE seq = 3",
        "DELETE FROM audit_leaf WHERE seq = (SELECT MAX(seq) FROM audit_leaf)",
        "UPDATE audit_leaf SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4)",
        "UPDATE audit_head SET size = size - 1, checkpoint = replace(checkpoint, size, size - 1)",
    ],
)
def test_an_edited_log_is_found_offline_on_a_copy_without_any_secret(server, owner, repo, tmp_path, statement):
    saved = owner.strongroom("audit", "checkpoint")
    commit(owner, repo, {"more.md": os.urandom(10)})
    copy = tmp_path / "keeper.db"
    source = sqlite3.connect(server.data / "keeper" / "keeper.db")
    source.backup(sqlite3.connect(copy))
    kept = tmp_path / "checkpoint.json"
    kept.write_text(json.dumps(saved))
    arguments = ["audit", "verify", "--database", copy, "--key", saved["key"], "--from", kept]
    assert owner.strongroom(*arguments)["verified"] is True
    tampered(copy, statement)
    assert "NOT verify" in (e := owner.strongroom(*arguments, fails=True).stderr) or "checkpoint" in e


def test_a_log_that_was_rolled_back_is_found_by_whoever_kept_a_checkpoint(make_server, tmp_path):
    server = make_server()
    server.stop()
    old = tmp_path / "old"
    shutil.copytree(server.data, old)
    server.start()
    server.owner.hf("repos", "create", "admin/later")
    saved = tmp_path / "checkpoint.json"
    saved.write_text(json.dumps(server.owner.strongroom("audit", "checkpoint")))
    assert server.owner.strongroom("audit", "verify", "--from", saved)["verified"] is True
    server.stop()
    shutil.rmtree(server.data)
    shutil.copytree(old, server.data)
    server.start()
    assert "ROLLED BACK" in server.owner.strongroom("audit", "verify", "--from", saved, fails=True).stderr


def test_a_record_is_proved_to_be_in_the_log(server, owner, repo):
    record = owner.strongroom("audit", "search", "--limit", "1")["records"][0]["record"]
    assert owner.strongroom("audit", "prove", str(record))["verified"] is True
    assert "records" in owner.strongroom("audit", "prove", "999999", fails=True).stderr


# 6. The damage has a bound and a list


def test_a_budget_ends_the_reading(make_server, tmp_path):
    server = make_server(with_budgets(tmp_path, '[principal]\nbytes_per_day = { hard = "7B" }\n'))
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    commit(owner, "admin/x", {"a.md": b"words", "empty.md": b""})
    assert owner.http("GET", "/admin/x/resolve/main/a.md").status == 200
    answer = owner.http("GET", "/admin/x/resolve/main/a.md")
    assert answer.status == 429 and int(answer.headers["Retry-After"]) > 0 and b"words" not in answer.body
    assert owner.http("GET", "/admin/x/resolve/main/empty.md").status == 200
    assert owner.strongroom("audit", "search", "--action", "object.open", "--outcome", "denied")["records"]


class SlowDownload(threading.Thread):
    """Reads on as long as bytes come, slowly."""

    def __init__(self, person, path, body=None):
        super().__init__(daemon=True)
        self.person, self.path, self.body, self.bytes = person, path, body, 0
        self.start()
        while self.bytes == 0:
            time.sleep(0.01)

    def run(self):
        with self.person.slowly(self.path, self.body) as connection:
            try:
                connection.settimeout(5)
                while piece := connection.recv(16384):
                    self.bytes += len(piece)
                    time.sleep(0.002)
            except OSError:
                pass


@pytest.mark.parametrize("stop", ["revoke", "lock-user", "lock-token", "lock-repo", "role"])
def test_a_stop_ends_an_open_download_within_a_second(server, owner, stop):
    name = f"stopped-{stop}"
    repo = f"admin/{name}"
    owner.hf("repos", "create", repo)
    commit(owner, repo, {"long.md": os.urandom(12_000_000)})
    reader = server.person(name, ("reader", repo))
    download = SlowDownload(reader, f"/{repo}/resolve/main/long.md")
    owner.strongroom(
        *{
            "revoke": ["token", "revoke", str(reader.token_id)],
            "lock-user": ["lock", "add", "--user", name, "--reason", "incident"],
            "lock-token": ["lock", "add", "--token", str(reader.token_id)],
            "lock-repo": ["lock", "add", "--repo", repo],
            "role": ["role", "revoke", name, "reader", "--repo", repo],
        }[stop]
    )
    time.sleep(1)
    # What the kernel held back was thrown away with the connection: not a byte more, though the client reads on.
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < 12_000_000, stop
    until = time.monotonic() + 5
    while not (found := owner.strongroom("audit", "search", "--principal", name, "--outcome", "cut")["records"]):
        assert time.monotonic() < until
    assert found[0]["action"] == "object.deliver" and found[0]["bytes"] < 12_000_000, (stop, found)
    assert reader.http("GET", f"/{repo}/resolve/main/long.md").status in (401, 404)


# Processes


def test_a_killed_gate_comes_back_and_what_was_committed_is_there(make_server):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    commit(owner, "admin/x", {"a.md": b"words"})
    keeper = server.child("keeper")
    os.kill(server.child("gate"), 9)
    time.sleep(0.2)
    server.wait()
    assert server.child("keeper") == keeper
    assert owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"


def test_a_killed_supervisor_takes_both_along_and_the_next_one_finds_its_port_free(make_server):
    server = make_server()
    children = [server.child(role) for role in ("keeper", "gate")]
    server.process.kill()
    server.process.wait()
    until = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1][:3] for child in children):
        assert time.monotonic() < until, "nobody watches them, and they serve on"
        time.sleep(0.1)
    server.start()
    server.owner.hf("repos", "create", "admin/after")


def test_a_killed_keeper_stops_the_service_within_a_second_and_comes_back(make_server):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    commit(owner, "admin/x", {"a.md": b"words"})
    old_gate = server.child("gate")
    os.kill(server.child("keeper"), 9)
    time.sleep(1.0)
    assert not Path(f"/proc/{old_gate}").exists() or "zombie" in Path(f"/proc/{old_gate}/status").read_text()
    server.wait()
    assert owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"
    assert owner.strongroom("audit", "verify")["verified"] is True


def test_a_token_shows_when_it_was_used_last_and_ends_on_time(server, owner, repo):
    used, unused = server.person("punctual", ("reader", "admin")), server.with_token("punctual", expires="2s")
    assert unused.http("GET", "/api/whoami-v2").status == 200
    time.sleep(2.1)
    assert unused.http("GET", "/api/whoami-v2").status == 401
    third = server.with_token("punctual")
    assert used.http("GET", f"/{repo}/resolve/main/README.md").status == 200
    shown = {token["id"]: token for token in owner.strongroom("token", "list", "--user", "punctual")["tokens"]}
    assert shown[used.token_id]["last_used"] and shown[unused.token_id]["state"] == "token expired"
    assert shown[third.token_id]["last_used"] is None and "token" not in shown[used.token_id]
    assert "90 days" in owner.strongroom("token", "create", "--user", "punctual", "--expires", "91d", fails=True).stderr


def test_a_gate_that_dies_in_an_upload_leaves_nothing_behind(make_server):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    objects = [{"oid": "1" * 64, "size": 50_000_000}]
    offer = {"operation": "upload", "transfers": ["basic"], "objects": objects}
    offer = owner.http("POST", "/admin/x.git/info/lfs/objects/batch", offer).json()["objects"][0]
    path = offer["actions"]["upload"]["href"].removeprefix(server.url)
    before = {file for file in (server.data / "objects").rglob("*") if file.is_file()}
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        with server.tls().wrap_socket(plain, server_hostname="localhost") as connection:
            head = f"PUT {path} HTTP/1.1\r\nHost: localhost:{server.port}\r\nContent-Length: 50000000\r\n\r\n"
            connection.sendall(head.encode() + os.urandom(20_000_000))
            until = time.monotonic() + 10
            while {file for file in (server.data / "objects").rglob("*") if file.is_file()} == before:
                assert time.monotonic() < until
            os.kill(server.child("gate"), 9)
    time.sleep(0.3)
    server.wait()
    assert {file for file in (server.data / "objects").rglob("*") if file.is_file()} == before


def test_a_commit_that_is_sent_twice_is_made_once(server, owner, repo):
    first, second = (commit(owner, repo, {"twice.md": b"the same"}).json()["commitOid"] for _ in range(2))
    assert first == second == owner.http("GET", f"/api/models/{repo}").json()["sha"]


def test_a_stop_in_the_middle_of_a_download_leaves_the_record_of_what_was_sent(make_server):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    commit(owner, "admin/x", {"long.md": os.urandom(12_000_000)})
    SlowDownload(owner, "/admin/x/resolve/main/long.md")
    server.stop()
    server.start()
    found = owner.strongroom("audit", "search", "--action", "object.deliver")["records"]
    assert len(found) == 1 and found[0]["path"] == "long.md" and found[0]["bytes"] > 0


def test_a_second_start_asks_nothing_and_makes_no_new_secret(make_server):
    server = make_server()
    key, ca = server.root_key.read_text(), server.ca.read_text()
    server.stop()
    server.start()
    assert (server.root_key.read_text(), server.ca.read_text()) == (key, ca)
    assert "srt_" not in server.log() and server.owner.http("GET", "/api/whoami-v2").json()["name"] == "admin"
    assert oct(server.root_key.stat().st_mode)[-3:] == "400"


def test_another_instance_does_not_take_or_overwrite_a_root_key(make_server, tmp_path):
    server = make_server()
    from conftest import PROGRAM

    command = [PROGRAM, "init", "--data-dir", tmp_path / "data", "--root-key", server.root_key, "--json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 1 and "never overwritten and never shared" in done.stderr


# The root key


@pytest.mark.parametrize("how", ["shares", "passphrase"])
def test_a_sealed_server_answers_nothing_until_it_is_unsealed(tmp_path_factory, how):
    from conftest import held_by_people

    server, shares = held_by_people(tmp_path_factory.mktemp("sealed"), how)
    try:
        owner = server.owner
        if how == "shares":
            # Nowhere on the disk, and not in the server's hands before enough of them came.
            assert not server.root_key.exists() and len(shares) == 3
        else:
            plain = subprocess.run(["age", "-d", "-i", "/dev/null", server.root_key], capture_output=True)
            assert plain.returncode != 0 and b"AGE-SECRET-KEY" not in server.root_key.read_bytes()
        assert owner.strongroom("status") == {"status": "sealed"}
        assert owner.http("GET", "/api/whoami-v2").status == 503
        wrong = "not a share, or mistyped" if how == "shares" else "not the passphrase"
        assert wrong in owner.run([server.program, "unseal"], fails=True, input="nonsense\n").stderr
        for share in shares[:2]:
            assert owner.http("GET", "/api/whoami-v2").status == 503
            owner.run([server.program, "unseal"], input=share)
        assert owner.strongroom("status") == {"status": "ok"}
        assert owner.http("GET", "/api/whoami-v2").json()["name"] == "admin"
        owner.hf("repos", "create", "admin/x")
        commit(owner, "admin/x", {"a.md": b"words"})
        # A gate that dies does not seal it again; a keeper that dies does.
        os.kill(server.child("gate"), 9)
        time.sleep(0.2)
        server.wait()
        assert owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"
        os.kill(server.child("keeper"), 9)
        time.sleep(1)
        server.wait(answer=b"sealed")
        for share in shares[-2:]:
            owner.run([server.program, "unseal"], input=share)
        assert owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"
    finally:
        server.stop()


def test_doctor_names_what_is_dangerous_with_its_mend(server, tmp_path):
    from conftest import PROGRAM

    def doctor(*arguments):
        command = [PROGRAM, "doctor", "--json", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, {(f["level"], f["what"]): f["mend"] for f in json.loads(done.stdout)["findings"]}

    code, findings = doctor("--data-dir", tmp_path / "data", "--root-key", tmp_path / "root.key")
    assert code == 0 and all(level == "warning" for level, _ in findings)
    inside = ["--data-dir", tmp_path, "--root-key", tmp_path / "root.key"]
    code, findings = doctor(*inside)
    assert code == 1 and any("inside the data directory" in what for level, what in findings if level == "refused")
    (tmp_path / "data").mkdir(mode=0o755)
    code, findings = doctor("--data-dir", tmp_path / "data", "--root-key", tmp_path / "elsewhere.key")
    assert code == 1 and any(mend.startswith("chmod -R go=") for mend in findings.values())
    code, findings = doctor("--data-dir", tmp_path / "none", "--root-key", tmp_path / "elsewhere.key", "--listen", "0.0.0.0:1")
    assert code == 1 and any("no name of it is configured" in what for _, what in findings)
    # And what doctor refuses, serve refuses.
    done = subprocess.run([PROGRAM, "serve", *map(str, inside)], capture_output=True, text=True)
    assert done.returncode == 1 and "inside the data directory" in done.stderr and "mend:" in done.stderr
