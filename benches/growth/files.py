"""A page, a file and a commit as a repository grows, with all files in one directory and with a hundred in each."""

import hashlib
import json

from .draw import curves
from .house import Client, commit, grown, powers, table

CONTENT = b"one line of text\n"
LINES = 20_000
SHAPES = {"flat": lambda n: f"data/f{n:06}.txt", "nested": lambda n: f"data/{n // 10000:02}/{n // 100 % 100:02}/f{n % 100:02}.txt"}


def link(path):
    """A file whose bytes lie in its compartment already: growing costs no payloads."""
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": hashlib.sha256(CONTENT).hexdigest()}}


def grow(client, shape, sizes, rounds, operations):
    repo, place = f"admin/{shape}", SHAPES[shape]
    client.create(shape)
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
        runs = [
            lambda n: client.ask("GET", tree),
            lambda n: client.ask("GET", f"/{repo}/resolve/main/{place((size // 3 + n) % size)}"),
            lambda n: client.send(repo, [{"key": "file", "value": content(n)}]),
        ]
        assert len(json.loads(runs[0](0))) >= min(1000, size)
        rows.append((size, *(client.cost(rounds, operations, run) for run in runs)))
    return rows


def run(server, options, charts):
    names = ["page of 1000, ms", "file, ms", "commit of one, ms"]
    series = {}
    for shape in SHAPES:
        rows = grow(Client(server), shape, powers(2, options.files), options.rounds, options.operations)
        table([f"files, {shape}", *names], rows)
        print("\n" + "; ".join(f"{name} {grown(rows, at)}" for at, name in enumerate(names, 1)))
        for at, name in enumerate(["page", "file", "commit"], 1):
            series[name if shape == "flat" else f"{name}, {shape}"] = [(row[0], row[at]) for row in rows]
    curves(charts / "growth-files.svg", "Server CPU of one operation (ms) over files in the repository", series)
