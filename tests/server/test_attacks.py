"""Attacks of which other hubs were victims, each tried by whoever would: a thief who owns a place of their own, a stranger,
somebody at the disk. SECURITY.md says which row of the attack table is held by which test, here and elsewhere."""

import base64
import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from conftest import PROGRAM, commit, waiting
from test_alerts import within
from test_bad_input import HEAD, Refused, lines
from test_matrix import routes
from test_shares import share

FIXTURES = Path(__file__).parents[2] / "src" / "xet" / "fixtures"
XORB, SHARD = ((FIXTURES / f"hf_xet-1.8.0.{kind}").read_bytes() for kind in ("xorb", "shard"))
XORB_HASH = "a5c8a01e67b7907ea79fcdc127c4674db525642777d165ec8b59d45c44aa1060"
XORB_SHA256 = "0baf9ab87effe116bc95d463668c6f38f04fc6ac0039dea460ab9bf51e66b81f"


@pytest.fixture(scope="module")
def tenants(server):
    """Two who own a namespace each, with a repository in it, and know nothing of each other."""
    made = {}
    for name in ("victim", "thief"):
        made[name] = server.person(name, ("owner", name))
        assert made[name].http("POST", "/api/repos/create", {"name": "x", "organization": name}).status == 200
        commit(made[name], f"{name}/x", {"README.md": f"words of the {name}".encode()})
    return type("Tenants", (), made)


# 5. An address of content is no right to it


def chunks(person, repo):
    """Where a stock client sends chunks of a repository, and with which ticket."""
    given = person.http("GET", f"/api/models/{repo}/xet-write-token/main").json()
    ticket = {"Authorization": f"Bearer {given['accessToken']}"}
    path = given["casUrl"].removeprefix(person.server.url)
    return lambda rest, body: person.http("POST", f"{path}/v1/{rest}", body, ticket)


def test_a_shard_that_names_anothers_chunks_is_refused_and_links_nothing(server, tenants):
    own, foreign = chunks(tenants.victim, "victim/x"), chunks(tenants.thief, "thief/x")
    link = lines(HEAD, ("lfsFile", {"path": "w.bin", "algo": "sha256", "oid": XORB_SHA256, "size": 150_000}))
    send = lambda person, repo: person.http("POST", f"/api/models/{repo}/commit/main", link)

    def tries():
        before = commits("thief/x")
        # The same answer as where nobody ever sent them, and nothing to link afterwards.
        assert foreign("shards", SHARD).status in range(400, 500)
        assert send(tenants.thief, "thief/x").status in range(400, 500)
        assert commits("thief/x") == before

    commits = lambda repo: len(tenants.thief.http("GET", f"/api/models/{repo}/commits/main").json())
    tries()
    assert own(f"xorbs/default/{XORB_HASH}", XORB).status == 200
    tries()
    assert own("shards", SHARD).status == 200
    tries()
    assert send(tenants.victim, "victim/x").status == 200
    tries()
    # Whoever has the bytes gets a copy of their own.
    assert foreign(f"xorbs/default/{XORB_HASH}", XORB).status == 200 and foreign("shards", SHARD).status == 200
    assert send(tenants.thief, "thief/x").status == 200


# 6. A verb that nobody knows does nothing


METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]


def paths(repo):
    """Each path of the route table, about a repository, with the methods that it has."""
    namespace, name = repo.split("/")
    values = {"ns": namespace, "name": name, "rev": "main", "*path": "README.md", "kind": "model", "status": "pending", "log": "1"}
    values |= {"ticket": "nonsense", "scope": "00-0", "hash": "0" * 64}
    found = {}
    for method, base, path in routes():
        path = {"Root": "", "Api": "/api/models", "Web": ""}[base] + re.sub(r"\{([^}]+)\}", lambda part: values[part[1]], path)
        found.setdefault(path, set()).add(method)
    return found


def test_a_method_that_a_route_has_not_does_nothing_even_for_who_may_do_everything(server, owner):
    owner.http("POST", "/api/repos/create", {"name": "verbs", "organization": "admin"})
    commit(owner, "admin/verbs", {"README.md": b"words"})
    table = paths("admin/verbs")
    assert len(table) > 50
    with Refused(server) as refused:
        for path, own in table.items():
            for method in METHODS:
                if method not in own:
                    refused(owner, method, path, statuses=(404, 405))


def test_an_operation_of_large_files_that_is_none_falls_through_to_nothing(server, tenants):
    reader = server.person("lfs-reader", ("reader", "victim"))
    batch = lambda person, operation: person.http(
        "POST", "/victim/x.git/info/lfs/objects/batch", {"operation": operation, "objects": [{"oid": "1" * 64, "size": 5}]}
    )
    for operation in ["", "delete", "verify", "Upload", "UPLOAD", "upload\0", "upload,download", "download\n", None, 1, ["upload"]]:
        for person in (tenants.victim, reader, tenants.thief):
            answer = batch(person, operation)
            assert answer.status == 400 and b"href" not in answer.body, (operation, answer.body)
    # To read is not to write, whatever the word in the body says: the route is the same.
    assert batch(reader, "upload").status == 403 and batch(reader, "download").status == 200
    assert batch(tenants.thief, "download").status == 404


# 7. A number is no right to what has it


NOBODYS = 987_654


def by_number(number):
    """All that can be asked about a number."""
    request = {"kind": "model", "repo": "thief/x", "who": {"Request": number}}
    spec = {"kind": "model", "repo": "thief/x", "revision": "main", "to": "thief", "compartments": ["docs"], "life_s": 60}
    return [
        ("token", {"TokenRevoke": {"id": number}}),
        ("lock", {"LockAdd": {"subject": {"Token": number}, "reason": "mine"}}),
        ("lock", {"LockAdd": {"subject": {"Share": number}, "reason": "mine"}}),
        ("lock", {"LockRemove": {"subject": {"Token": number}}}),
        ("share", {"Share": {"Show": {"id": number}}}),
        ("share", {"Share": {"Extend": {"id": number, "life_s": 60}}}),
        ("share", {"Share": {"Revoke": {"id": number}}}),
        ("share", {"Share": {"Token": {"id": number}}}),
        ("share/terms", {"Share": {"Record": {"id": number, "sizes": [], "before": None}}}),
        ("approval", {"Approval": {"Show": {"id": number}}}),
        ("approval", {"Approval": {"Approve": {"id": number}}}),
        ("approval", {"Approval": {"Reject": {"id": number, "reason": "mine"}}}),
        ("access", {"Access": {"Reject": {**request, "reason": "mine"}}}),
        ("access", {"Access": {"Reopen": request}}),
        ("access", {"Access": {"Approve": {"who": {"Request": number}, "unasked": False, "spec": spec}}}),
        ("review", {"Review": {"Show": {"id": number}}}),
        ("review", {"Review": {"Revoke": {"given": [f"share-{number}"], "reason": "mine"}}}),
        ("review", {"Review": {"Confirm": {"given": [f"token-{number}"], "reason": "mine"}}}),
        ("review", {"Review": {"Revoke": {"given": [f"role-{number}-reader-repo-{number}"], "reason": "mine"}}}),
        ("decoy", {"Decoy": {"Remove": {"id": number}}}),
        ("audit", {"AuditWhat": {"token": number, "principal": None, "since_ms": None, "until_ms": None}}),
    ]


def test_a_number_of_anothers_is_answered_as_one_that_is_nobodys_and_moves_nothing(server, tenants):
    victim, thief = tenants.victim, tenants.thief
    for name in ("friend", "seeker"):
        server.person(name)
    held = share(victim, "victim/x@main", "friend")
    victim.strongroom("access", "disclose", "victim/x", "--to", "seeker")
    seeker = server.with_token("seeker")
    seeker.strongroom("access", "ask", "victim/x", "--reason", "mine")
    victim.strongroom("review", "start", "--namespace", "victim", "--within", "1d")
    server.agreed("role", "grant", "friend", "maintainer", "--namespace", "victim")
    # A share of weights waits for somebody who may share them too.
    refused = victim.run([PROGRAM, "share", "create", "victim/x@main", "--to", "seeker", "--compartments", "weights", "--expires", "1d"], fails=None)
    act = waiting(refused.stderr)
    assert act, refused.stderr

    def asked(number):
        answers = []
        for noun, command in by_number(number):
            answer = thief.http("POST", f"/api/strongroom/v1/{noun}", command)
            # One refused before a look at anything would prove nothing.
            assert answer.status in (400, 403, 404, 409) and b"not a command" not in answer.body, (command, answer.status, answer.body)
            answers.append((noun, answer.status, re.sub(rf"\b{number}\b", "NUMBER", answer.body.decode())))
        return answers

    numbers = set(range(1, 15)) | {int(held.share_id), int(act), victim.token_id, seeker.token_id}
    others = [number for number in sorted(numbers) if number != thief.token_id]
    with Refused(server):
        nothing = asked(NOBODYS)
        for number in others:
            different = [pair for pair in zip(asked(number), nothing) if pair[0] != pair[1]]
            assert not different, (number, different)
    # All of it is still there, for those whose it is.
    assert victim.strongroom("share", "show", held.share_id)["state"] == "active"
    assert victim.strongroom("approval", "show", act)["state"] == "waits"
    assert held.http("GET", "/victim/x/resolve/main/README.md").status == 200


# 8. What a caller says of itself is believed of nothing


CLAIMS = {
    "X-Forwarded-User": "admin",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=http",
    "X-Real-IP": "203.0.113.9",
    "X-Remote-User": "admin",
    "Remote-User": "admin",
    "X-Auth-Request-User": "admin",
    "X-WebAuth-User": "admin",
    "kubeflow-userid": "admin",
    "X-Goog-Authenticated-User-Email": "accounts.google.com:admin",
    "X-Original-URL": "/api/whoami-v2",
    "X-Rewrite-URL": "/api/whoami-v2",
    "X-Client-Cert": "CN=admin",
    "Cookie": "token=admin; session=admin",
}


def test_headers_that_name_somebody_change_no_answer_of_any_route(server, tenants):
    people = {"nobody": server.stranger(), "reader": server.person("claimer", ("reader", "victim"))}
    for who, person in people.items():
        for path, own in paths("victim/x").items():
            for method in own - {"HEAD"}:
                plain, claimed = (person.http(method, path, b"" if method != "GET" else None, headers) for headers in ({}, CLAIMS))
                told = lambda answer: (answer.status, re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9.]+e?-?\d*", b"", answer.body) if answer.status != 200 else b"")
                assert told(plain) == told(claimed), (who, method, path, plain.body, claimed.body)
                assert who != "nobody" or claimed.status in (400, 401), (method, path, claimed.status)
    # Nor is anything of it in the record.
    told = server.owner.strongroom("audit", "search", "--principal", "claimer", "--limit", "300")["records"]
    assert len(told) > 50 and {record["address"] for record in told} == {"127.0.0.1"}


def jwt(header, key=b""):
    import hashlib
    import hmac

    encode = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    body = ".".join(encode(json.dumps(part).encode()) for part in (header, {"sub": "admin", "aud": "strongroom", "exp": 4_000_000_000}))
    return f"{body}.{encode(hmac.digest(key, body.encode(), hashlib.sha256)) if key else ''}"


def test_a_token_that_brings_its_own_key_or_none_is_no_token(server, tenants):
    ca = server.ca.read_bytes()
    key = {"kty": "oct", "k": base64.urlsafe_b64encode(b"k" * 32).decode()}
    forged = [
        jwt({"alg": "none"}),
        jwt({"alg": "HS256", "jwk": key}, b"k" * 32),
        jwt({"alg": "HS256", "jku": "https://203.0.113.9/keys", "kid": "1"}, b"k"),
        jwt({"alg": "HS256", "x5u": "https://203.0.113.9/keys"}, b"k"),
        # The public key taken for a secret one.
        jwt({"alg": "HS256", "kid": "ca"}, ca),
        "admin",
        "srt_" + "A" * 43,
        tenants.victim.token[:-1],
        tenants.victim.token + "A",
        tenants.victim.token.upper(),
        "",
    ]
    for token in forged:
        for scheme in (f"Bearer {token}", "Basic " + base64.b64encode(f"victim:{token}".encode()).decode(), f"DPoP {token}", token):
            answer = server.stranger().http("GET", "/api/models/victim/x", None, {"Authorization": scheme})
            assert answer.status == 401, (scheme, answer.status)
    # The name beside a token is nobody's word: whose the token is, asks.
    reader = server.person("basic-reader", ("reader", "victim"))
    basic = {"Authorization": "Basic " + base64.b64encode(f"admin:{reader.token}".encode()).decode()}
    assert server.stranger().http("GET", "/api/whoami-v2", None, basic).json()["name"] == "basic-reader"


# 20. The record is not to be had without


def test_a_log_whose_file_is_taken_away_or_replaced_ends_all_answers_until_it_is_back(make_server):
    server = make_server()
    owner = server.owner
    owner.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"})
    commit(owner, "admin/x", {"a.md": b"quokka words"})
    get = lambda: owner.http("GET", "/admin/x/resolve/main/a.md")
    assert get().body == b"quokka words"
    aside = server.folder / "aside"
    for name in ("keeper.db", "keeper.db-wal"):
        file = server.data / "keeper" / name
        for replace in (False, True):
            file.rename(aside)
            if replace:
                shutil.copyfile(aside, file)
            # Neither is anything changed that nobody would know of.
            assert get().status == 503 and b"quokka" not in get().body, (name, replace)
            assert owner.http("POST", "/api/repos/create", {"name": "unseen", "organization": "admin"}).status == 503
            assert "was removed or replaced" in server.log()
            aside.rename(file)
            within(10, lambda: get().status == 200)
    server.stop()
    server.start()
    assert get().body == b"quokka words" and owner.strongroom("audit", "verify")["verified"] is True
    assert owner.http("GET", "/api/models/admin/unseen").status == 404


def test_a_tile_with_a_flipped_bit_is_found_by_whoever_proves_and_by_the_next_start(make_server):
    server = make_server()
    owner = server.owner
    while owner.strongroom("audit", "checkpoint")["size"] < 300:
        for _ in range(60):
            owner.http("GET", "/api/whoami-v2")
    assert owner.strongroom("audit", "prove", "5")["verified"] is True
    server.stop()
    file = server.data / "keeper" / "keeper.db"

    def flip(level, at, row="hashes"):
        database = sqlite3.connect(file)
        [held] = database.execute(f"SELECT {row} FROM audit_tile WHERE level = ? AND position = 0", (level,)).fetchone()
        changed = bytearray(held)
        changed[at] ^= 1
        database.execute(f"UPDATE audit_tile SET {row} = ? WHERE level = ? AND position = 0", (bytes(changed), level))
        database.commit()
        database.close()

    # Of a record beside it, whose own leaf is whole: of the same sixteen, or of another of them.
    for place in ((0, 32 * 12 + 7), (0, 32 * 9 + 7, "middle")):
        flip(*place)
        server.start()
        assert "is NOT in the log" in owner.strongroom("audit", "prove", "5", fails=True).stderr
        server.stop()
        flip(*place)
    flip(1, 3)
    started = subprocess.run([PROGRAM, "serve", *map(str, server.arguments)], capture_output=True, text=True, timeout=60)
    assert started.returncode != 0 and "audit verify" in started.stderr + started.stdout
    flip(1, 3)
    server.start()
    assert owner.strongroom("audit", "prove", "5")["verified"] is True


def test_no_credential_comes_to_stand_in_a_log_wherever_it_was_sent(make_server):
    server = make_server()
    owner = server.owner
    analyst = server.person("analyst", ("auditor", None))
    owner.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"})
    given = owner.http("GET", "/api/models/admin/x/xet-write-token/main").json()["accessToken"]
    secrets = [owner.token, given, "srt_" + "Quokka1" * 6 + "Q"]
    for secret in secrets:
        basic = "Basic " + base64.b64encode(f"admin:{secret}".encode()).decode()
        for headers in ({"Authorization": f"Bearer {secret}"}, {"Authorization": basic}, {"Cookie": f"token={secret}"}, {"X-Token": secret}, {"Referer": f"https://x/?{secret}"}):
            for path in ("/api/whoami-v2", "/api/models/admin/x", "/admin/x/resolve/main/none.md", "/no/such/route/at/all"):
                server.stranger().http("GET", f"{path}?token={secret}&access_token={secret}", None, headers)
        owner.http("POST", "/api/strongroom/v1/user", {"token": secret})
        owner.http("POST", "/api/strongroom/v1/token", [secret])
    made = owner.strongroom("token", "create", "--user", "admin", "--expires", "1d")
    secrets.append(made["token"])
    told = analyst.run([PROGRAM, "audit", "export", "--format", "jsonl"]).stdout + server.log()
    told += owner.http("GET", "/api/strongroom/traces").body.decode()
    assert '"token.create"' in told and len(told) > 50_000
    for secret in secrets:
        # Not even most of it.
        assert secret[:20] not in told, [line for line in told.splitlines() if secret[:20] in line][:3]
