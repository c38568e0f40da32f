"""Searching the log, proving, verifying and starting, as the log grows; and what an analyst asks at the command line, an incident
above all. Its records are the keeper's own (benches/keeper.rs), three to a read, each thing in one of a hundred of them."""

import json
import os
import statistics
import subprocess
import sys
import time

from .draw import curves
from .house import PROGRAM, Client, Meter, bench, grown, powers, start, table

PAGE = 50
# Seconds after which a question is asked no more often.
ENOUGH = 20


def query(**named):
    names = ("principal", "repo", "action", "outcome", "token", "address", "since_ms", "until_ms", "before")
    return {"AuditSearch": {**dict.fromkeys(names), "limit": PAGE, **named}}


def verify(server, key):
    """Seconds, CPU seconds and MiB at most of an offline verification."""
    command = [PROGRAM, "audit", "verify", "--json", "--database", str(server.data / "keeper" / "keeper.db"), "--key", key]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    shown = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0 and shown["verified"], shown
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def questions(suspect, newest_ms):
    """What an analyst types; `hour` is the newest 120,000 records, `all` is the log. One in a hundred is the suspect's."""
    hour = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest_ms / 1000 - 3600))
    windows = {"hour": hour, "all": "3650d"}
    asked = {"search": ["audit", "search", "--principal", "suspect", "--limit", PAGE], "timeline": ["audit", "timeline", "--principal", "suspect"]}
    for name, since in windows.items():
        asked[f"who, {name}"] = ["audit", "who", "admin/r0", "--since", since]
    for name, since in windows.items():
        asked[f"what, {name}"] = ["audit", "what", "--principal", "suspect", "--since", since]
    for whom in (["--principal", "suspect"], ["--token", suspect.token_id]):
        for name, since in windows.items():
            asked[f"incident of a {whom[0][2:]}, {name}"] = ["incident", "open", *whom, "--since", since, "--out"]
    return asked


def at_the_door(server, folder, rounds, command):
    """Wall and server CPU seconds of one command, and what it told: the medians of some runs, after one that warms where one is
    not long already."""
    meter = Meter([server.child("gate"), server.child("keeper")])
    bundle, walls, costs, began = folder / "bundle.jsonl", [], [], time.monotonic()
    while len(walls) <= rounds and (not walls or time.monotonic() - began < ENOUGH):
        bundle.unlink(missing_ok=True)
        before, at = meter.nanoseconds(), time.monotonic()
        told = server.owner.strongroom(*command, *([bundle] if command[-1] == "--out" else []))
        walls.append(time.monotonic() - at)
        costs.append((meter.nanoseconds() - before) / 1e9)
    written = bundle.stat().st_size if command[-1] == "--out" else 0
    bundle.unlink(missing_ok=True)
    later = slice(1, None) if len(walls) > 1 else slice(None)
    return statistics.median(walls[later]), statistics.median(costs[later]), told, written


def analyst(server, options, asked, size, walls, costs):
    found = {name: at_the_door(server, server.folder, options.rounds, command) for name, command in asked.items()}
    for name, (_, _, told, written) in found.items():
        records = told.get("records")
        assert not name.endswith("all") or not isinstance(records, int) or records > size / 150, (name, records)
        if written:
            print(f"{size} records, {name}: {records} in its bundle of {written / 2**20:.1f} MiB", flush=True)
    walls.append((size, *(wall for wall, *_ in found.values())))
    costs.append((size, *(cost for _, cost, *_ in found.values())))
    print(walls[-1], file=sys.stderr, flush=True)


def run(server, options, charts):
    Client(server).create("r0")
    suspect = server.person("suspect", ("reader", "admin"))
    rows, whole, walls, costs = [], [], [], []
    for size in powers(4, options.records):
        server.stop()
        made = bench("log", server.data, server.root_key, size)[0]
        print(f"made {made['made']} records in {made['seconds']:.0f} s", flush=True)
        # The first start after a bulk of records writes the WAL back.
        server.start()
        starts = [start(server) for _ in range(options.rounds)]
        client = Client(server)
        cost = lambda command: client.cost(options.rounds, options.operations, lambda n: client.admin("audit", command))
        latest = client.admin("audit", query(address="10.0.0.5"))["records"]
        middle = latest[0]["time_ms"] - size * 15
        text = client.admin("audit", query(principal="admin", until_ms=middle))["next"]
        deep = dict(zip(("time_ms", "log", "seq"), map(int, text.split("-")))) if text else None
        searches = [
            query(principal="admin"),
            query(repo=["model", "admin/r0"]),
            query(token=7),
            query(address="10.0.0.5"),
            query(since_ms=middle, until_ms=middle + 60_000),
            query(principal="admin", before=deep),
            query(principal="admin", address="10.0.0.5"),
        ]
        for search in searches[:6]:
            assert len(client.admin("audit", search)["records"]) == PAGE or size < 20_000, search
        total = client.admin("audit", "AuditCheckpoint")
        prove = {"AuditProve": {"log": 1, "record": size // 3, "from_size": None}}
        consistent = {"AuditProve": {"log": 1, "record": None, "from_size": size // 3}}
        rows.append((size, *map(cost, searches), cost(prove), cost(consistent), cost("AuditCheckpoint"), statistics.median(starts) * 1e3))
        print(rows[-1], file=sys.stderr, flush=True)
        asked = questions(suspect, latest[0]["time_ms"])
        analyst(server, options, asked, size, walls, costs)
        server.stop()
        whole.append((size, *verify(server, total["key"])))
        file = (server.data / "keeper" / "keeper.db").stat().st_size
        print(f"{size} records: {file / 2**20:.0f} MiB", flush=True)
        server.start()
    names = ["principal", "repository", "token", "address", "window", "deep page", "two at once", "inclusion", "consistency", "checkpoint", "start"]
    table(["records", *(f"{name}, ms" for name in names)], rows)
    print("\n" + "; ".join(f"{name} {grown(rows, at)}" for at, name in enumerate(names, 1)))
    table(["records", *(f"{name}, wall s" for name in asked)], walls)
    table(["records", *(f"{name}, server CPU s" for name in asked)], costs)
    print("\n" + "; ".join(f"{name} {grown(walls, at)}" for at, name in enumerate(asked, 1)))
    table(["records verified offline", "s", "CPU s", "MiB at most"], whole)
    series = {name: [(row[0], row[at]) for row in rows] for at, name in enumerate(names, 1)}
    curves(charts / "growth-log.svg", f"Server CPU of a question (ms; start: wall) over records in the log", series)
    series = {name: [(row[0], row[at]) for row in walls] for at, name in enumerate(asked, 1)}
    curves(charts / "growth-analyst.svg", "What an analyst asks at the command line (wall s) over records in the log", series)
