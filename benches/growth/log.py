"""Searching the log, proving, verifying and starting, as the log grows. Its records are the keeper's own (benches/keeper.rs),
each thing in one of a hundred of them."""

import json
import os
import statistics
import subprocess
import sys
import time

from .draw import curves
from .house import PROGRAM, Client, bench, grown, powers, start, table

PAGE = 50


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


def run(server, options, charts):
    Client(server).create("r0")
    rows, whole = [], []
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
        server.stop()
        whole.append((size, *verify(server, total["key"])))
        file = (server.data / "keeper" / "keeper.db").stat().st_size
        print(f"{size} records: {file / 2**20:.0f} MiB", flush=True)
        server.start()
    names = ["principal", "repository", "token", "address", "window", "deep page", "two at once", "inclusion", "consistency", "checkpoint", "start"]
    table(["records", *(f"{name}, ms" for name in names)], rows)
    print("\n" + "; ".join(f"{name} {grown(rows, at)}" for at, name in enumerate(names, 1)))
    table(["records verified offline", "s", "CPU s", "MiB at most"], whole)
    series = {name: [(row[0], row[at]) for row in rows] for at, name in enumerate(names, 1)}
    curves(charts / "growth-log.svg", f"Server CPU of a question (ms; start: wall) over records in the log", series)
