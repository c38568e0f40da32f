"""What a security analyst asks of the log: who can and who did, what happened when, records by every filter; and what outsiders
get of it. Told with owner, reader, partner, analyst, monitor."""

import base64
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import time

import pytest

from conftest import PROGRAM, commit
from test_shares import share

FILES = {
    "README.md": b"# public words\n",
    "config.json": b'{"layers": 2}',
    "model.safetensors": os.urandom(100_000),
    "logs/run.txt": b"loss 0.1\n",
    "deep/er/notes.md": b"notes",
    "deep/erase.md": b"other",
}


@pytest.fixture(scope="module")
def case(server, owner):
    case = type("Case", (), {})()
    for name in ("one", "two"):
        assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
        commit(owner, f"admin/{name}", FILES)
    case.analyst = server.person("analyst", ("auditor", None))
    case.reader = server.person("reader", ("reader", "admin/one"))
    case.writer = server.person("writer", ("writer", "admin"))
    case.partner = share_of(server, owner)
    case.get = lambda person, path, repo="admin/one", **headers: person.http("GET", f"/{repo}/resolve/main/{path}", headers=headers)
    return case


def share_of(server, owner):
    server.person("partner", ("partner", "admin"))
    return share(owner, "admin/one@main", "partner")


# Who


def test_who_can_read_and_by_what_and_who_did(case, owner, server):
    since = owner.strongroom("audit", "search", "--limit", "1")["records"][0]["time"]
    case.get(case.reader, "config.json")
    for part in ("bytes=0-99", "bytes=100-299"):
        case.get(case.reader, "model.safetensors", Range=part)
    case.get(case.partner, "README.md")
    found = case.analyst.strongroom("audit", "who", "admin/one", "--since", since)
    can = {(each["principal"], each.get("share")): each for each in found["can"]}
    assert set(can) == {("admin", None), ("reader", None), ("writer", None), ("partner", int(case.partner.share_id))}
    assert can["reader", None]["by"] == ["reader of model admin/one"] and "logs" not in can["reader", None]["compartments"]
    assert can["writer", None]["by"] == ["writer of namespace admin"] and "logs" in can["writer", None]["compartments"]
    assert can["partner", int(case.partner.share_id)]["compartments"] == ["docs", "config"]
    did = {(each["principal"], each["share"]): each for each in found["did"]}
    assert set(did) == {("reader", None), ("partner", int(case.partner.share_id))}
    assert (did["reader", None]["opened"], did["reader", None]["files"], did["reader", None]["bytes"]) == (3, 2, 300 + len(FILES["config.json"]))
    # Of one compartment, and by a line of one's own; a denial wins, and who is locked reads nothing.
    logs = lambda: {each["principal"] for each in case.analyst.strongroom("audit", "who", "admin/one/logs")["can"]}
    assert logs() == {"admin", "writer"}
    line = ["reader", "repo.read", "--compartment", "logs", "--repo", "admin/one"]
    owner.strongroom("role", "allow", *line)
    [by] = [each["by"] for each in case.analyst.strongroom("audit", "who", "admin/one/logs")["can"] if each["principal"] == "reader"]
    assert by == ["reader of model admin/one", "allow repo.read logs in model admin/one"]
    owner.strongroom("role", "allow", *line, "--remove")
    owner.strongroom("role", "deny", "writer", "repo.read", "--compartment", "logs", "--repo", "admin/one")
    assert logs() == {"admin"}
    owner.strongroom("lock", "add", "--user", "reader")
    can = {each["principal"] for each in case.analyst.strongroom("audit", "who", "admin/one")["can"]}
    owner.strongroom("lock", "remove", "--user", "reader")
    assert can == {"admin", "writer", "partner"}
    assert "audit.read" in case.reader.strongroom("audit", "who", "admin/one", fails=True).stderr


# Timeline


def test_a_timeline_has_a_line_an_act_and_ranges_of_one_file_drawn_together(case, owner, server):
    person = server.person("lined", ("reader", "admin/two"))
    for part in ("bytes=0-99", "bytes=100-199", "bytes=500-599"):
        case.get(person, "model.safetensors", "admin/two", Range=part)
    case.get(person, "README.md", "admin/two")
    case.get(person, "README.md", "admin/none")
    until = time.monotonic() + 10
    while True:
        acts = case.analyst.strongroom("audit", "timeline", "--principal", "lined")["acts"]
        if sum(act.get("delivered", 0) for act in acts) == 4:
            break
        assert time.monotonic() < until
    assert [(act["action"], act["outcome"], act.get("path")) for act in acts] == [
        ("object.open", "allowed", "model.safetensors"),
        ("object.open", "allowed", "README.md"),
        ("repo.read", "denied", "README.md"),
    ]
    assert acts[0]["ranges"] == [[0, 200], [500, 600]] and acts[0]["count"] == 3 and acts[0]["sent"] == 300 and acts[0]["unfinished"] == 0
    text = case.analyst.run([PROGRAM, "audit", "timeline", "--token", person.token_id]).stdout.splitlines()
    assert len(text) == 3 and "read 3 times, 300 bytes in 2 ranges, 300 sent" in text[0] and text[0].startswith("20")


# Search


def records(person, *arguments):
    return person.strongroom("audit", "search", "--limit", "500", *arguments)["records"]


def test_records_are_found_by_compartment_path_and_request(case, owner, server):
    person = server.person("filtered", ("reader", "admin/two"))
    for path in ("README.md", "deep/er/notes.md", "deep/erase.md", "config.json"):
        case.get(person, path, "admin/two", **{"X-Request-Id": f"asked-{path.split('/')[-1].split('.')[0]}"})
    opened = ["--principal", "filtered", "--action", "object.open"]
    everything = records(case.analyst, *opened)
    assert len(everything) == 4
    docs = [record for record in everything if record["compartments"] == ["docs"]]
    assert records(case.analyst, *opened, "--compartment", "docs") == docs and len(docs) == 3
    assert {record["path"] for record in records(case.analyst, *opened, "--path", "deep/er")} == {"deep/er/notes.md", "deep/erase.md"}
    assert [record["path"] for record in records(case.analyst, *opened, "--path", "deep/er/")] == ["deep/er/notes.md"]
    asked = records(case.analyst, "--request-id", "asked-config")
    assert {record["path"] for record in asked} == {"config.json"} and {record["action"] for record in asked} >= {"repo.read", "object.open"}
    of_share = records(case.analyst, "--share", case.partner.share_id, "--action", "share.create")
    assert len(of_share) == 1


def test_a_page_looks_at_so_many_records_and_says_where_to_go_on(make_server):
    """Two filters whose intersection is rare: a page ends without being full, and the walk over all pages finds all of it."""
    server = make_server()
    owner = server.owner
    for name in ("one", "two"):
        assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
    reader = server.person("reader", ("reader", "admin"))
    assert reader.http("GET", "/api/models/admin/two").status == 200
    assert owner.http("GET", "/api/models/admin/one").status == 200
    # Far more records of the same reader than a page looks at, between the rare one and now.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: reader.http("GET", "/api/models/admin/one").status, range(4600)))
    answer = owner.http("POST", "/api/strongroom/v1/audit", {"AuditSearch": {"principal": "reader", "repo": ["model", "admin/two"], "outcome": "allowed", "limit": 100}})
    assert answer.status == 200
    # By the repository's own index it is found at once: that run is the shorter one.
    assert len(answer.json()["records"]) == 1 and answer.json()["next"] is None
    rare = {"principal": "reader", "action": "repo.read", "outcome": "denied", "limit": 100}
    answer = owner.http("POST", "/api/strongroom/v1/audit", {"AuditSearch": rare}).json()
    assert answer["records"] == [] and answer["next"]
    answer = owner.http("POST", "/api/strongroom/v1/audit", {"AuditSearch": {**rare, "before": place(answer["next"])}}).json()
    assert answer == {"records": [], "next": None}
    # The command goes on by itself.
    found = owner.strongroom("audit", "search", "--principal", "reader", "--repo", "admin/two")["records"]
    assert [record["action"] for record in found] == ["repo.read"]
    assert owner.strongroom("audit", "search", "--principal", "reader", "--outcome", "denied") == {"records": [], "next": None}
    everything = owner.strongroom("audit", "search", "--principal", "reader", "--limit", "5000")["records"]
    assert len(everything) == 4601 and len({(record["log"], record["record"]) for record in everything}) == 4601


def place(text):
    return dict(zip(("time_ms", "log", "seq"), map(int, text.split("-"))))


# Outside


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root(hashes[:split]), root(hashes[split:]))


def tile_path(index):
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups)


def entries_of(body):
    while body:
        length = int.from_bytes(body[:2], "big")
        yield body[2 : 2 + length]
        body = body[2 + length :]


def test_a_monitor_follows_the_log_by_its_tiles(case, owner, server):
    """As C2SP tlog-tiles says, with nothing of ours: checkpoint, tiles of hashes, entries, and the root computed from them."""
    monitor = server.person("tiles", ("auditor", None))
    prefix = "/api/strongroom/audit/1"
    while owner.strongroom("audit", "checkpoint")["size"] < 520:
        for _ in range(100):
            owner.http("GET", "/api/whoami-v2")
    answer = monitor.http("GET", f"{prefix}/checkpoint")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain")
    origin, size, hashed = answer.body.decode().split("\n")[:3]
    size = int(size)
    hashes, entries = [], []
    for index in range(-(-size // 256)):
        width = min(256, size - index * 256)
        part = "" if width == 256 else f".p/{width}"
        tile = monitor.http("GET", f"{prefix}/tile/0/{tile_path(index)}{part}")
        assert tile.status == 200 and len(tile.body) == width * 32
        assert ("immutable" in tile.headers["Cache-Control"]) == (width == 256)
        hashes += [tile.body[at : at + 32] for at in range(0, len(tile.body), 32)]
        bundle = monitor.http("GET", f"{prefix}/tile/entries/{tile_path(index)}{part}")
        entries += list(entries_of(bundle.body))
    assert origin == "strongroom" and len(entries) == size == len(hashes)
    assert [leaf_hash(entry) for entry in entries] == hashes
    assert base64.b64encode(root(hashes)).decode() == hashed
    upper = monitor.http("GET", f"{prefix}/tile/1/000.p/{size // 256}").body
    assert upper == b"".join(root(hashes[at * 256 : at * 256 + 256]) for at in range(size // 256))
    # What is not there, what is no path, who may not.
    for path in ("tile/0/999", "tile/0/000.p/0", "tile/0/0", "tile/64/000", "tile/entries/x999/999", "tile/0/x000/000", "tile/0"):
        assert monitor.http("GET", f"{prefix}/{path}").status in (400, 404), path
    assert monitor.http("GET", "/api/strongroom/audit/9/checkpoint").status == 400
    assert case.reader.http("GET", f"{prefix}/checkpoint").status == 403
    assert server.stranger().http("GET", f"{prefix}/tile/0/000").status == 401


HOSTILE = 'a"];[x\\{}\u202e\u0085\n<0>1 - - - \x1b[2J\u2028%n'


def exported(person, *arguments):
    done = person.run([PROGRAM, "audit", "export", *arguments])
    return done.stdout


def test_an_export_has_every_record_in_its_order_and_hostile_text_as_data(case, owner, server):
    spare = server.with_token("reader")
    owner.strongroom("lock", "add", "--token", spare.token_id, "--reason", HOSTILE)
    lines = exported(case.analyst, "--format", "jsonl").split("\n")
    found = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == "" and [(record["log"], record["record"]) for record in found] == [(1, at) for at in range(len(found))]
    searched = {record["record"]: record for record in records(case.analyst)}
    assert all(searched[record["record"]] == record for record in found if record["record"] in searched)
    assert HOSTILE in {record.get("reason") for record in found}
    # From a place and from a time.
    tail = [json.loads(line) for line in exported(case.analyst, "--format", "jsonl", "--from", "40").splitlines()]
    assert tail[: len(found) - 40] == found[40:]
    since = found[len(found) // 2]["time_ms"]
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since / 1000)) + f".{since % 1000:03}Z"
    late = [json.loads(line) for line in exported(case.analyst, "--format", "jsonl", "--since", text).splitlines()]
    assert [record for record in late if record["record"] < len(found)] == [record for record in found if record["time_ms"] >= since]
    # OCSF: what class 6003 requires, and the record whole.
    for line, record in zip(exported(case.analyst, "--format", "ocsf").split("\n"), found):
        event = json.loads(line)
        assert event["class_uid"] == 6003 and event["category_uid"] == 6 and event["type_uid"] == 600300 + event["activity_id"]
        assert event["time"] == record["time_ms"] and event["metadata"]["sequence"] == record["record"] and event["unmapped"] == record
        assert event["actor"] and event["api"]["operation"] == record["action"] and event["src_endpoint"] and event["severity_id"] in (1, 3)
        assert event["metadata"]["product"]["vendor_name"] and event["metadata"]["version"] == "1.3.0"
    # Syslog: a line a record whatever is in it, its grammar, and the record whole.
    syslog = exported(case.analyst, "--format", "syslog").split("\n")
    assert len(syslog) >= len(found)
    for line, record in zip(syslog, found):
        held = re.fullmatch(r'<1(08|10)>1 (\S+) - strongroom - (\S{1,32}) \[strongroom@32473 log="strongroom" record="(\d+)" outcome="(\w+)"\] (\{.*\})', line)
        assert held and held[2] == record["time"] and int(held[4]) == record["record"] and json.loads(held[6]) == record
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    assert "audit.read" in case.reader.run([PROGRAM, "audit", "export", "--format", "jsonl"], fails=True).stderr


def test_an_export_that_follows_tells_what_comes(case, owner, server, tmp_path):
    start = owner.strongroom("audit", "checkpoint")["size"]
    with open(tmp_path / "out", "wb") as out:
        command = [PROGRAM, "audit", "export", "--format", "jsonl", "--from", str(start), "--follow"]
        following = subprocess.Popen(command, env=case.analyst.environment(), stdout=out)
        try:
            until = time.monotonic() + 20
            while not (tmp_path / "out").read_bytes():
                assert time.monotonic() < until
                time.sleep(0.1)
            case.get(case.reader, "config.json", **{"X-Request-Id": "followed"})
            while b'"followed"' not in (tmp_path / "out").read_bytes():
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            following.kill()
            following.wait()
    numbers = [json.loads(line)["record"] for line in (tmp_path / "out").read_text().splitlines()[:-1]]
    assert numbers == list(range(start, start + len(numbers)))
