"""The server that is measured, and what its operations cost."""

import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "server"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/strongroom/target"))
os.environ.setdefault("STRONGROOM_BIN", str(TARGET / "release" / "strongroom"))
os.environ.setdefault("STRONGROOM_TEST_PEERS", "")
from conftest import PROGRAM, STORES, Person, Server, commit, unlimited  # noqa: E402, F401

# The keeper's own code, without a server: benches/keeper.rs.
BENCH = Path(PROGRAM).parent / "examples" / "keeper-bench"


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

    def __init__(self, server, person=None):
        self.server, self.meter = server, Meter([server.child("gate"), server.child("keeper")])
        self.person = person or server.owner
        self.connection = http.client.HTTPSConnection("localhost", server.port, context=server.tls(), timeout=600)

    def ask(self, method, path, body=None, kind="application/json"):
        headers = {"Authorization": f"Bearer {self.person.token}", "Content-Type": kind}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content)
        self.link = answer.headers["Link"]
        return content

    def create(self, name):
        self.ask("POST", "/api/repos/create", json.dumps({"name": name, "organization": "admin"}))

    def send(self, repo, lines):
        lines = [{"key": "header", "value": {"summary": "bench", "description": ""}}, *lines]
        body = "\n".join(map(json.dumps, lines))
        self.ask("POST", f"/api/models/{repo}/commit/main", body, "application/x-ndjson")

    def admin(self, noun, command):
        return json.loads(self.ask("POST", f"/api/strongroom/v1/{noun}", json.dumps(command)))

    def cost(self, rounds, operations, run):
        """CPU milliseconds of one operation: the median of rounds, after one that warms."""
        costs = []
        for turn in range(rounds + 1):
            before = self.meter.nanoseconds()
            for n in range(operations):
                run(turn * operations + n)
            costs.append((self.meter.nanoseconds() - before) / operations / 1e6)
        return statistics.median(costs[1:])


def start(server):
    """Seconds from the command to the first answer."""
    server.stop()
    server.output = open(server.folder / "server.log", "ab")
    began = time.monotonic()
    command = [PROGRAM, "serve", *map(str, server.arguments)]
    server.process = subprocess.Popen(command, stdout=server.output, stderr=server.output)
    while server.health() != b"ok":
        assert server.process.poll() is None, server.log()
        time.sleep(0.005)
    return time.monotonic() - began


def bench(*arguments):
    """Figures of the keeper alone."""
    done = subprocess.run([str(BENCH), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def powers(first, most):
    return [10**power for power in range(first, 10) if 10**power <= most]


def table(head, rows):
    print(f"\n| {' | '.join(head)} |\n| {' | '.join('---' for _ in head)} |")
    for row in rows:
        print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    sys.stdout.flush()


def grown(rows, column):
    """How many times the first of the compared sizes the last costs."""
    second = rows[min(1, len(rows) - 1)]
    return f"from {second[0]} to {rows[-1][0]}: {rows[-1][column] / second[column]:.2f} times"
