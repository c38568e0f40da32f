"""Incidents: what somebody could reach and did, against what the thief really did; and the evidence, verified by somebody who has
nothing but the file and the log's key. Told with owner, thief, bystander, partner, analyst, officer, outsider."""

import base64
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import PROGRAM, commit
from test_promises import SlowDownload
from test_rotate_repository import rows
from test_shares import share

LONG = 12_000_000
FILES = {
    "README.md": b"# public words\n",
    "config.json": b'{"layers": 2}',
    "model.safetensors": os.urandom(200_000),
    "logs/run-quokka.txt": b"loss 0.1 secret-of-the-log\n",
    "data/people.csv": b"name\nplanted-person\n",
}


class Truth:
    """What one credential really did, noted by who did it."""

    def __init__(self):
        self.read, self.denied = {}, 0

    def get(self, person, repo, path, start=None, end=None, status=(200, 206)):
        headers = {} if start is None else {"Range": f"bytes={start}-{end - 1}"}
        answer = person.http("GET", f"/{repo}/resolve/main/{path}", headers=headers)
        if answer.status not in status:
            self.denied += 1
            return answer
        whole = (0, len(answer.body)) if start is None else (start, end)
        assert len(answer.body) == whole[1] - whole[0]
        self.note(repo, path, *whole)
        return answer

    def note(self, repo, path, start, end):
        self.read.setdefault((repo, path), set()).update(range(start, end))


def told(found):
    return {(each["repo"], each["path"]): {at for start, end in each["ranges"] for at in range(start, end)} for each in found["read"]}


def matches(found, truth):
    """Precision and recall of files and of bytes: all that is told was done, and all that was done is told."""
    told_of = told(found)
    assert set(told_of) == set(truth.read)
    for key, ranges in truth.read.items():
        assert told_of[key] == ranges, key


def offline(bundle, key, fails=False):
    """On a machine that knows no server: no URL, no token, an environment of its own."""
    done = subprocess.run([PROGRAM, "incident", "verify", str(bundle), "--key", key, "--json"], capture_output=True, text=True, env={})
    assert (done.returncode != 0) == fails, (done.stdout, done.stderr)
    return done.stderr if fails else json.loads(done.stdout)


def settled(owner, count):
    """Deliveries are recorded after the client has its bytes."""
    until = time.monotonic() + 10
    while len(owner.strongroom("audit", "search", "--action", "object.deliver", "--limit", "500")["records"]) < count:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    from conftest import Server

    server = Server(tmp_path_factory.mktemp("server"))
    owner = server.owner
    for name in ("one", "two", "three", "shared"):
        assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
        commit(owner, f"admin/{name}", FILES)
    commit(owner, "admin/two", {"long.md": os.urandom(LONG), "longer.md": os.urandom(LONG)})
    case = type("Case", (), {})()
    case.server, case.owner = server, owner
    case.analyst, case.officer = server.person("analyst", ("auditor", None)), server.person("officer", ("security", None))
    case.bystander = server.person("bystander", ("reader", "admin"))
    case.since = owner.strongroom("audit", "search", "--limit", "1")["records"][0]["time"]
    # The thief has two tokens, reads by ranges, tries what it may not, gets another role, loses it.
    case.thief = server.person("thief", ("reader", "admin/one"))
    case.other = server.with_token("thief", "repo:admin/two", "compartment:docs", "action:repo.read")
    case.whole, case.narrow = Truth(), Truth()
    case.whole.get(case.thief, "admin/one", "config.json")
    case.whole.get(case.thief, "admin/one", "logs/run-quokka.txt")
    case.whole.get(case.thief, "admin/two", "README.md")
    case.narrow.get(case.other, "admin/two", "README.md")
    Truth().get(case.bystander, "admin/one", "README.md")
    owner.strongroom("role", "grant", "thief", "writer", "--repo", "admin/two")
    for start, end in ((0, 100), (100, 200), (1000, 2000), (150, 160)):
        case.whole.get(case.thief, "admin/two", "model.safetensors", start, end)
    case.whole.get(case.thief, "admin/two", "logs/run-quokka.txt")
    case.narrow.get(case.other, "admin/two", "README.md")
    case.narrow.get(case.other, "admin/two", "config.json")
    Truth().get(case.bystander, "admin/two", "model.safetensors", 5000, 6000)
    # A download that its client cuts, and one in whose middle the gate is killed: nothing tells how much of it left.
    cut = SlowDownload(case.thief, "/admin/two/resolve/main/long.md")
    case.whole.note("admin/two", "long.md", 0, LONG)
    owner.strongroom("role", "revoke", "thief", "writer", "--repo", "admin/two")
    cut.join()
    case.cut = cut.bytes
    owner.strongroom("role", "allow", "thief", "repo.read", "--compartment", "docs", "--repo", "admin/two")
    SlowDownload(case.other, "/admin/two/resolve/main/longer.md")
    case.narrow.note("admin/two", "longer.md", 0, LONG)
    os.kill(server.child("gate"), signal.SIGKILL)
    time.sleep(0.3)
    server.wait()
    # A partner reads by a share.
    server.person("partner", ("partner", "admin"))
    case.partner = share(owner, "admin/shared@main", "partner")
    case.by_share = Truth()
    case.by_share.get(case.partner, "admin/shared", "README.md")
    case.by_share.get(case.partner, "admin/shared", "config.json")
    case.by_share.get(case.partner, "admin/shared", "model.safetensors")
    settled(owner, 12)
    case.key = owner.strongroom("audit", "checkpoint")["key"]
    yield case
    server.stop()


def opened(person, folder, *arguments):
    bundle = folder / "bundle.jsonl"
    found = person.strongroom("incident", "open", *arguments, "--out", bundle)
    assert found["bundle"] == str(bundle)
    return found, bundle


def reach(found, at=0):
    """Of each period: the rights, as (repository, action, compartments)."""
    rights = lambda repo: [(repo["repo"], right["action"], tuple(right.get("compartments", []))) for right in repo["rights"]]
    return [{right for repo in period["repos"] for right in rights(repo)} for period in found["could"][at]["periods"]]


READS = ("docs", "config", "weights", "data", "code")


def test_what_a_principal_read_is_all_of_it_and_nothing_else(case, tmp_path):
    found, bundle = opened(case.analyst, tmp_path, "--principal", "thief", "--since", case.since)
    truth = Truth()
    for part in (case.whole, case.narrow):
        for key, ranges in part.read.items():
            truth.read.setdefault(key, set()).update(ranges)
    matches(found, truth)
    assert found["tokens"] == sorted([case.thief.token_id, case.other.token_id]) and found["addresses"] == ["127.0.0.1"]
    assert found["compartments"] == sorted({"config", "docs", "weights", "logs"}) and found["partners"] == []
    # A path that a reader does not see is nothing that was denied: the repository was asked, and shown without it.
    assert (case.whole.denied, case.narrow.denied, found["denied"]) == (2, 2, 2)
    absent = {(each["repo"], each["path"]): each["times"] for each in found["absent"]}
    assert absent["admin/one", "logs/run-quokka.txt"] == 1, absent
    read = {each["path"]: each for each in found["read"]}
    # The client cut the one: what left is told. Of the other nobody knows, so it counts as read to its end.
    assert read["long.md"]["unfinished"] == 0 and case.cut <= read["long.md"]["sent"] < LONG
    assert read["longer.md"]["unfinished"] == 1 and read["longer.md"]["sent"] == LONG
    assert read["model.safetensors"]["opened"] == 4 and read["model.safetensors"]["ranges"] == [[0, 200], [1000, 2000]]
    assert offline(bundle, case.key)["read"] == found["read"]


def test_what_it_could_reach_is_told_for_each_generation_of_policy(case, tmp_path):
    found, _ = opened(case.analyst, tmp_path, "--principal", "thief", "--since", case.since)
    one = {("admin/one", "repo.read", READS), ("admin/one", "repo.list", ())}
    all_parts = ("docs", "config", "weights", "data", "logs", "code")
    two = {("admin/two", action, all_parts) for action in ("repo.read", "repo.write")} | {("admin/two", "repo.list", ())}
    allowed = {("admin/two", "repo.read", ("docs",))}
    periods = found["could"][0]["periods"]
    # Before it was made, made, reader, writer too, reader again, and a line of its own. The second token changes nothing here.
    assert reach(found) == [set(), set(), one, one | two, one, one | allowed]
    generations = [period["generation"] for period in periods]
    assert generations == sorted(set(generations)) and periods[0]["generation"] < periods[-1]["generation"]
    assert [period["from"] for period in periods[1:]] == [period["until"] for period in periods[:-1]]
    # A token is narrower than its owner, and ends.
    found, _ = opened(case.analyst, tmp_path / "..", "--token", str(case.other.token_id), "--since", case.since)
    docs = {("admin/two", "repo.read", ("docs",))}
    assert [rights for rights in reach(found) if rights] == [docs, docs]
    assert found["could"][0]["token"] == case.other.token_id


@pytest.mark.parametrize("which", ["token", "other token", "share", "address"])
def test_each_kind_of_subject_is_told_apart(case, tmp_path, which):
    arguments, truths = {
        "token": (["--token", str(case.thief.token_id)], [case.whole]),
        "other token": (["--token", str(case.other.token_id)], [case.narrow]),
        "share": (["--share", case.partner.share_id], [case.by_share]),
        "address": (["--address", "127.0.0.1"], None),
    }[which]
    found, bundle = opened(case.analyst, tmp_path, *arguments, "--since", case.since)
    if truths:
        matches(found, truths[0])
    else:
        # Whoever was there: the bystander and the partner too.
        assert {("admin/one", "README.md"), ("admin/two", "longer.md"), ("admin/shared", "config.json")} <= set(told(found))
        assert {each.get("token") for each in found["could"]} >= {case.thief.token_id, case.partner.token_id}
    if which == "share":
        assert found["partners"] == [{"share": int(case.partner.share_id), "principal": "partner"}]
        [held] = found["could"][0]["periods"][-1]["repos"][0]["shares"]
        assert held["compartments"] == ["docs", "config"] and found["could"][0]["periods"][-1]["repos"][0]["repo"] == "admin/shared"
    assert offline(bundle, case.key)["verified"] is True


def test_a_thief_who_asked_a_thousand_times_is_told_with_every_record_in_its_place(make_server, tmp_path):
    server = make_server()
    officer = server.person("officer", ("security", None))
    assert server.owner.http("POST", "/api/repos/create", {"name": "one", "organization": "admin"}).status == 200
    commit(server.owner, "admin/one", {f"f{n}.md": b"w" * (n + 1) for n in range(3)})
    thief = server.person("thief", ("reader", "admin/one"))
    connection = http.client.HTTPSConnection("localhost", server.port, context=server.tls(), timeout=30)
    # More than two pages of evidence, of a thousand records each: a read has three.
    for turn in range(750):
        connection.request("GET", f"/admin/one/resolve/main/f{turn % 3}.md", headers={"Authorization": f"Bearer {thief.token}"})
        answer = connection.getresponse()
        assert answer.status == 200 and len(answer.read()) == turn % 3 + 1
    found, bundle = opened(officer, tmp_path, "--principal", "thief", "--since", "1h")
    assert found["records"] > 2000 and set(told(found)) == {("admin/one", f"f{n}.md") for n in range(3)}
    lines = [json.loads(line) for line in bundle.read_text().splitlines()]
    done = [line["record"] for line in lines[lines[0]["policy"] + 1 : -1]]
    assert len(done) == found["records"] and {record["principal"] for record in done} == {"thief"}
    assert [record["time_ms"] for record in done] == sorted((record["time_ms"] for record in done), reverse=True)
    assert sum(record["action"] == "object.deliver" for record in done) == 750
    key = officer.strongroom("audit", "checkpoint")["key"]
    assert offline(bundle, key)["verified"] is True
    # Its pages had no unindexed records to look through: what waited at its opening was indexed with its own record.
    opening = officer.strongroom("audit", "search", "--action", "incident.open")["records"][0]["record"]
    assert rows(server, "keeper", "SELECT MAX(indexed) FROM audit_head")[0][0] > opening


def test_a_time_in_which_nothing_was_done_says_so_and_what_could_have_been(case, tmp_path):
    last = case.owner.strongroom("audit", "search", "--principal", "thief", "--limit", "1")["records"][0]["time_ms"]
    time.sleep(0.05)
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime((last + 1) / 1000)) + f".{(last + 1) % 1000:03}Z"
    found, bundle = opened(case.analyst, tmp_path, "--principal", "thief", "--since", since)
    assert found["read"] == [] and found["records"] == 0
    assert reach(found)[0] == {("admin/one", "repo.read", READS), ("admin/one", "repo.list", ()), ("admin/two", "repo.read", ("docs",))}
    assert offline(bundle, case.key)["verified"] is True


def test_one_byte_changed_anywhere_is_refused_with_the_reason(case, tmp_path):
    _, bundle = opened(case.analyst, tmp_path, "--token", str(case.other.token_id), "--since", case.since)
    whole = bundle.read_bytes()
    lines = whole.split(b"\n")
    assert len(lines) > 10 and lines[-1] == b""
    chance = random.Random(20261124)
    places = {chance.randrange(len(whole)) for _ in range(120)}
    # Of each line some, whatever its length; and all line ends.
    start = 0
    for line in lines[:-1]:
        places |= {start + chance.randrange(len(line)) for _ in range(4)} | {start + len(line)}
        start += len(line) + 1
    forged = tmp_path / "forged.jsonl"
    for place in sorted(places):
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(7)
        forged.write_bytes(changed)
        assert "does NOT verify" in offline(forged, case.key, fails=True), (place, whole[place - 20 : place + 20])
    for kept in (whole[:-1], whole + b"\n", b"\n".join(lines[:-2]) + b"\n", whole + lines[-2] + b"\n", b""):
        forged.write_bytes(kept)
        assert "does NOT verify" in offline(forged, case.key, fails=True)


def test_a_record_left_out_put_in_or_moved_is_refused(case, tmp_path):
    _, bundle = opened(case.analyst, tmp_path, "--token", str(case.other.token_id), "--since", case.since)
    lines = bundle.read_text().splitlines()
    (tmp_path / "more").mkdir()
    _, foreign = opened(case.analyst, tmp_path / "more", "--principal", "bystander", "--since", case.since)
    stranger = foreign.read_text().splitlines()[-2]
    forged = tmp_path / "forged.jsonl"
    policy = json.loads(lines[0])["policy"]
    for changed in (
        lines[:-2] + lines[-1:],
        lines[:1] + lines[2:],
        lines[:-1] + [stranger, lines[-1]],
        lines[: policy + 1] + [lines[policy + 2], lines[policy + 1]] + lines[policy + 3 :],
        lines[:1] + [lines[2], lines[1]] + lines[3:],
        lines[:-1] + lines[-2:],
    ):
        forged.write_text("\n".join(changed) + "\n")
        assert "does NOT verify" in offline(forged, case.key, fails=True)
    # Nor is a whole bundle believed that another log's key signed.
    other = case.key.split("+", 2)
    raw = bytearray(base64.b64decode(other[2]))
    raw[5] ^= 1
    name_id = hashlib.sha256(other[0].encode() + b"\n" + bytes(raw)).digest()[:4].hex()
    assert "NOT verify" in offline(bundle, f"{other[0]}+{name_id}+{base64.b64encode(raw).decode()}", fails=True)


def test_a_bundle_shows_no_key_but_of_its_own_records(case, tmp_path):
    """Who gets it opens these records and no other: the keys in it are as many as its records, and none opens two."""
    _, bundle = opened(case.analyst, tmp_path, "--token", str(case.other.token_id), "--since", case.since)
    entries = [json.loads(line) for line in bundle.read_text().splitlines()[1:-1]]
    assert len({entry["key"] for entry in entries}) == len({entry["leaf"] for entry in entries})
    assert oct(bundle.stat().st_mode)[-3:] == "600"
    assert "exists" in case.analyst.strongroom("incident", "open", "--principal", "thief", "--since", "1h", "--out", bundle, fails=True).stderr


def test_who_may_not_read_the_log_opens_nothing_and_who_may_not_lock_stops_nobody(case, tmp_path):
    out = ["--since", "1h", "--out", tmp_path / "none.jsonl"]
    assert "audit.read" in case.thief.strongroom("incident", "open", "--principal", "admin", *out, fails=True).stderr
    assert "lock.manage" in case.analyst.strongroom("incident", "open", "--principal", "thief", "--lock", *out, fails=True).stderr
    assert case.owner.strongroom("lock", "list")["locks"] == [] and not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("which", ["token", "principal", "share", "address"])
def test_a_lock_in_the_same_act_stops_it(make_server, tmp_path, which):
    server = make_server()
    owner = server.owner
    officer = server.person("officer", ("security", None))
    assert owner.http("POST", "/api/repos/create", {"name": "one", "organization": "admin"}).status == 200
    commit(owner, "admin/one", {"README.md": b"words"})
    thief = server.person("thief", ("reader", "admin/one"))
    held = share(owner, "admin/one@main", "thief")
    suspect = held if which == "share" else thief
    assert suspect.http("GET", "/admin/one/resolve/main/README.md").status == 200
    subject = {"token": thief.token_id, "principal": "thief", "share": held.share_id, "address": "127.0.0.1"}[which]
    found = officer.strongroom("incident", "open", f"--{which}", subject, "--since", "1h", "--lock", "--out", tmp_path / "bundle.jsonl")
    assert suspect.http("GET", "/admin/one/resolve/main/README.md").status == 401
    assert found["locked"] and ("README.md" in {each["path"] for each in found["read"]})
    # One record says both, but where the tokens had to be looked up first.
    action = "incident.lock" if which == "address" else "incident.open"
    [record] = officer.strongroom("audit", "search", "--action", action)["records"]
    assert any("stop" in effect for effect in record["effects"])
    # Who stopped the others goes on.
    assert officer.strongroom("lock", "list")["locks"]
    key = officer.strongroom("audit", "checkpoint")["key"]
    assert offline(tmp_path / "bundle.jsonl", key)["locked"] == found["locked"]
