#!/usr/bin/env python3
"""What a page, a file and a commit cost as a repository grows, with all files in one directory and with a hundred in each;
and what the first page of repositories costs as they become more. Server CPU is user and system time of gate and keeper.

usage: benches/growth.py [--files N] [--repos N] [--rounds N] [--operations N] [--svg FILE]
Needs: cargo build --release, or STRONGROOM_BIN, and pytest. Prints Markdown for docs/performance.md, and draws the first
table. A page has at most 1000 lines: its cost is to be compared from 1000 files on.
"""

import argparse
import hashlib
import http.client
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "server"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/strongroom/target"))
os.environ.setdefault("STRONGROOM_BIN", str(TARGET / "release" / "strongroom"))
os.environ.setdefault("STRONGROOM_TEST_PEERS", "")
from conftest import Server, commit  # noqa: E402

CONTENT = b"one line of text\n"
LINES = 20_000
SHAPES = {"flat": lambda n: f"data/f{n:06}.txt", "nested": lambda n: f"data/{n // 10000:02}/{n // 100 % 100:02}/f{n % 100:02}.txt"}
STYLES = {"page": "#1f77b4", "file": "#2ca02c", "commit": "#d62728"}


class Meter:
    """CPU of all threads of some processes, user and system, by the scheduler's own account (/proc/PID/task/TID/schedstat):
    the ticks of /proc/PID/stat are too coarse for one request."""

    def __init__(self, pids):
        self.pids, self.seen = pids, {}

    def nanoseconds(self):
        for pid in self.pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    self.seen[task] = int((task / "schedstat").read_text().split()[0])
                except OSError:
                    pass  # A thread that ended: what it had used is still counted.
        return sum(self.seen.values())


class Client:
    """One connection that stays open: a handshake is no part of an operation."""

    def __init__(self, server):
        self.server, self.meter = server, Meter([server.child("gate"), server.child("keeper")])
        self.connection = http.client.HTTPSConnection("localhost", server.port, context=server.tls(), timeout=600)

    def ask(self, method, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.server.owner.token}", "Content-Type": kind}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content)
        return content

    def send(self, repo, lines):
        lines = [{"key": "header", "value": {"summary": "bench", "description": ""}}, *lines]
        body = "\n".join(map(json.dumps, lines))
        self.ask("POST", f"/api/models/{repo}/commit/main", body, "application/x-ndjson")

    def cost(self, rounds, operations, run):
        """CPU milliseconds of one operation: the median of rounds, after one that warms."""
        costs = []
        for turn in range(rounds + 1):
            before = self.meter.nanoseconds()
            for n in range(operations):
                run(turn * operations + n)
            costs.append((self.meter.nanoseconds() - before) / operations / 1e6)
        return statistics.median(costs[1:])


def link(path):
    """A file whose bytes lie in its compartment already: growing costs no payloads."""
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": hashlib.sha256(CONTENT).hexdigest()}}


def files(client, shape, sizes, rounds, operations):
    repo, place = f"admin/{shape}", SHAPES[shape]
    client.server.owner.http("POST", "/api/repos/create", {"name": shape, "organization": "admin"})
    commit(client.server.owner, repo, {place(0): CONTENT})
    held, rows = 1, []
    for size in sizes:
        while held < size:
            until = min(size, held + LINES)
            client.send(repo, [link(place(n)) for n in range(held, until)])
            held = until
        middle = place(size // 2)
        tree = f"/api/models/{repo}/tree/main?recursive=true&expand=false"
        content = lambda n: {"path": middle, "content": f"{size} {n}", "encoding": "utf-8"}
        runs = {
            "page": lambda n: client.ask("GET", tree),
            "file": lambda n: client.ask("GET", f"/{repo}/resolve/main/{place((size // 3 + n) % size)}"),
            "commit": lambda n: client.send(repo, [{"key": "file", "value": content(n)}]),
        }
        assert len(json.loads(runs["page"](0))) >= min(1000, size)
        rows.append((size, {name: client.cost(rounds, operations, run) for name, run in runs.items()}))
        costs = rows[-1][1]
        print(f"| {shape} | {size} | {costs['page']:.2f} | {costs['file']:.2f} | {costs['commit']:.2f} |", flush=True)
    return rows


def repositories(client, sizes, rounds):
    # Those that the first part made are there too.
    held = len(json.loads(client.ask("GET", "/api/models")))
    for size in sizes:
        for n in range(held, size):
            client.ask("POST", "/api/repos/create", json.dumps({"name": f"r{n}", "organization": "admin"}))
        held = size
        for label, query in [("lastModified", "limit=20"), ("createdAt", "limit=20&sort=createdAt"), ("search", f"limit=20&search=r{size - 1}")]:
            cost = client.cost(rounds, 1, lambda n: client.ask("GET", f"/api/models?{query}"))
            print(f"| {size} | {label} | {cost:.2f} | {cost * 1000 / size:.1f} |", flush=True)


def svg(results, file):
    """CPU over files, both logarithmic."""
    width, height, left, top, right, bottom = 720, 420, 70, 30, 130, 50
    sizes = [size for rows in results.values() for size, _ in rows]
    costs = [cost for rows in results.values() for _, row in rows for cost in row.values()]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    first, last = math.log10(min(sizes)), math.log10(max(sizes))
    across = lambda size: left + (math.log10(size) - first) / max(last - first, 1e-9) * (width - left - right)
    up = lambda cost: height - bottom - (math.log10(cost) - low) / max(high - low, 1) * (height - top - bottom)
    power = lambda value: f"{10 ** value:g}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="18" font-size="14">Server CPU of one operation (ms) over files in the repository</text>',
    ]
    for value in range(low, high + 1):
        y = up(10**value)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{power(value)}</text>')
    for size in sorted(set(sizes)):
        x = across(size)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{size}</text>')
    labels = []
    for shape, rows in results.items():
        for name, colour in STYLES.items():
            points = [(across(size), up(row[name])) for size, row in rows]
            dash = ' stroke-dasharray="5 4"' if shape == "nested" else ""
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
            labels.append([points[-1][1], f"{name}, {shape}", colour])
    labels.sort()
    for before, label in zip([None, *labels], labels):
        # Labels do not lie over each other.
        label[0] = max(label[0], before[0] + 14) if before else label[0]
        parts.append(f'<text x="{width - right + 8}" y="{label[0] + 4:.1f}" fill="{label[2]}">{label[1]}</text>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n")


def powers(most):
    return [10**power for power in range(2, 10) if 10**power <= most]


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--files", type=int, default=100_000)
    parse.add_argument("--repos", type=int, default=10_000)
    parse.add_argument("--rounds", type=int, default=7)
    parse.add_argument("--operations", type=int, default=20)
    parse.add_argument("--svg", type=Path, default=ROOT / "docs" / "growth-files.svg")
    arguments = parse.parse_args()
    folder = tempfile.mkdtemp(prefix="strongroom-growth-")
    # No budget ends the bench.
    server = Server(folder, "[budget]\nrepositories_per_day = 1000000\n")
    try:
        client = Client(server)
        print("| directories | files | page of 1000, ms | file, ms | commit of one, ms |\n| --- | --- | --- | --- | --- |")
        results = {}
        for shape in SHAPES:
            results[shape] = files(client, shape, powers(arguments.files), arguments.rounds, arguments.operations)
        svg(results, arguments.svg)
        grown = lambda rows, name: rows[-1][1][name] / rows[min(1, len(rows) - 1)][1][name]
        for shape, rows in results.items():
            print(f"\n{shape}: from {rows[min(1, len(rows) - 1)][0]} to {rows[-1][0]} files a page costs {grown(rows, 'page'):.2f} times, a file {grown(rows, 'file'):.2f} times, a commit {grown(rows, 'commit'):.2f} times")
        print("\n| repositories | first 20 by | ms | µs for each there is |\n| --- | --- | --- | --- |")
        repositories(client, powers(arguments.repos), arguments.rounds)
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
