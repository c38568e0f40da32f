#!/usr/bin/env python3
"""Small answers: a 4 KiB file with its durable records, a 4 KiB range of a 4 GiB object, a new TLS connection, and a snapshot of a
thousand files by the stock client, each beside nginx with the same certificate in the same rounds.

usage: benches/answers.py [--rounds N] [--seconds N] [--gib N] [--files N] [--only small|range|connect|snapshot]...
Needs: cargo build --release, nginx (nginx-light), wrk, curl (all Debian's), the clients that tests/all fetches. Prints Markdown for
docs/performance.md.
"""

import argparse
import base64
import json
import os
import random
import re
import subprocess
import time
from pathlib import Path

from bench import Nginx, Ours, REPO, fill, median, rounds, scratch, table, unlimited, wrk

SMALL = 4096


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--rounds", type=int, default=7)
    parse.add_argument("--seconds", type=int, default=4)
    parse.add_argument("--gib", type=int, default=4)
    parse.add_argument("--files", type=int, default=1000)
    parse.add_argument("--only", action="append", choices=["small", "range", "connect", "snapshot"])
    arguments = parse.parse_args()
    wanted = lambda name: not arguments.only or name in arguments.only
    with scratch() as folder:
        # A benchmark reads more than any person may in a day.
        ours = Ours(folder / "ours", unlimited(folder / "policies"))
        www = folder / "www"
        www.mkdir()
        content = os.urandom(SMALL)
        (www / "small.bin").write_bytes(content)
        ours.commit([{"key": "file", "value": {"path": "small.bin", "content": base64.b64encode(content).decode()}}])
        snapshot = prepare_snapshot(folder, ours, www, arguments.files) if wanted("snapshot") else None
        nginx = Nginx(folder, ours, www, snapshot[1] if snapshot else "")
        try:
            if wanted("small"):
                small(ours, nginx, arguments)
            if wanted("range"):
                ranges(folder, ours, arguments)
            if wanted("connect"):
                connect(ours, nginx, arguments)
            if snapshot:
                compare_snapshots(folder, ours, nginx, snapshot[0], arguments)
        finally:
            nginx.stop()
            ours.server.stop()


def answered(rows, label):
    """Requests a second, and CPU microseconds of the server for each."""
    return median([rate for _, _, (_, rate) in rows[label]]), median([cpu / count * 1e6 for cpu, _, (count, _) in rows[label]])


def small(ours, nginx, arguments):
    url, auth = f"{ours.url}/{REPO}/resolve/main/small.bin", ours.auth
    works = []
    for connections in (8, 64):
        works.append((f"ours, {connections} in flight", ours.pids, lambda n=connections: wrk(url, arguments.seconds, n, auth)))
        works.append((f"nginx, {connections} in flight", nginx.pids, lambda n=connections: wrk(f"{nginx.url}/small.bin", arguments.seconds, n)))
    rows = rounds(arguments.rounds, works)
    print(f"A file of 4 KiB; ours with decision and durable records; {arguments.rounds} rounds of {arguments.seconds} s by turns, medians:\n")
    lines = [(label, *(f"{value:.0f}" for value in answered(rows, label))) for label, *_ in works]
    table(["4 KiB over TLS, keep-alive", "requests/s", "server CPU µs each"], lines)
    ratio = answered(rows, works[2][0])[0] / answered(rows, works[3][0])[0]
    print(f"{ratio:.3f} × nginx's requests/s with 64 in flight; target 0.5 (1)\n")


def ranges(folder, ours, arguments):
    size = arguments.gib << 30
    path = folder / "large.bin"
    fill(path, size)
    oid, href = ours.offer(path)
    ours.put(path, href)
    ours.link("large.bin", oid, size)
    path.unlink()
    script = folder / "range.lua"
    script.write_text(f"""
init = function(args) math.randomseed(os.time() + tonumber(tostring({{}}):sub(8), 16) % 100000) end
request = function()
  local at = math.random(0, {size // SMALL - 1}) * {SMALL}
  return wrk.format("GET", nil, {{["Range"] = string.format("bytes=%d-%d", at, at + {SMALL - 1}), ["Authorization"] = "{ours.auth.split(': ')[1]}"}})
end
""")
    run = lambda n: wrk(f"{ours.url}/{REPO}/resolve/main/large.bin", arguments.seconds, n, script=script)
    works = [(f"{n} in flight", ours.pids, lambda n=n: run(n)) for n in (1, 16, 64)]
    rows = rounds(arguments.rounds, works)
    lines = [(label, *(f"{value:.0f}" for value in answered(rows, label))) for label, *_ in works]
    table([f"4 KiB range of {arguments.gib} GiB, decision and records", "requests/s", "server CPU µs each (target 300, stretch 150)"], lines)


def connect(ours, nginx, arguments):
    close = "Connection: close"
    works = [("ours", ours.pids, lambda: wrk(f"{ours.url}/healthz", arguments.seconds, 16, close)),
             ("nginx", nginx.pids, lambda: wrk(f"{nginx.url}/small.bin", arguments.seconds, 16, close))]
    rows = rounds(arguments.rounds, works)
    lines = [(label, *(f"{value:.0f}" for value in answered(rows, label))) for label, *_ in works]
    table(["new TLS 1.3 connections, P-256, no resumption", "connections/s", "server CPU µs each"], lines)
    used = [answered(rows, label)[1] for label in ("ours", "nginx")]
    print(f"{used[1] / used[0]:.2f} × nginx's connections for each CPU second; target 1.5 (2.2)\n")


def prepare_snapshot(folder, ours, www, count):
    """A repository of many small files, and the same answers as files for nginx. Gives the commit and nginx's configuration."""
    made = ours.owner.http("POST", "/api/repos/create", {"name": "snap", "organization": "admin"})
    assert made.status == 200, made.body
    chance = random.Random(1)
    files = {f"d{at % 10}/f{at:05}.json": chance.randbytes(2000) for at in range(count)}
    ours.commit([{"key": "file", "value": {"path": path, "content": base64.b64encode(data).decode()}} for path, data in files.items()], "admin/snap")
    info = ours.owner.http("GET", "/api/models/admin/snap/revision/main").body
    commit = json.loads(info)["sha"]
    # All pages in one: nginx does not tell queries apart.
    page, entries = f"/api/models/admin/snap/tree/{commit}?recursive=true&expand=false", []
    while page:
        answer = ours.owner.http("GET", page)
        entries += answer.json()
        following = re.search(r"<https://[^/]+([^>]+)>", answer.headers.get("link") or "")
        page = following and following[1]
    tree = json.dumps(entries).encode()
    for path, answer in (("revision/main", info), (f"revision/{commit}", info), (f"tree/{commit}", tree)):
        api = www / "api" / "models" / "admin" / "snap" / path
        api.parent.mkdir(parents=True, exist_ok=True)
        api.write_bytes(answer)
    files[".gitattributes"] = ours.owner.http("GET", "/admin/snap/resolve/main/.gitattributes").body
    for path, data in files.items():
        file = www / "admin" / "snap" / "resolve" / commit / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return commit, f"add_header X-Repo-Commit {commit};"


def compare_snapshots(folder, ours, nginx, commit, arguments):
    turn = [0]

    def fetch(url):
        turn[0] += 1
        home = folder / f"home{turn[0]}"
        program = f"from huggingface_hub import snapshot_download; snapshot_download('admin/snap', local_dir={str(home / 'copy')!r})"
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_ENDPOINT": url, "HF_TOKEN": ours.owner.token,
                       "SSL_CERT_FILE": str(ours.ca), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        python = Path(os.environ["STRONGROOM_TEST_PEERS"]) / "current" / "bin" / "python"
        done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert sum(1 for path in (home / "copy").rglob("*.json") if ".cache" not in path.parts) == arguments.files
        subprocess.run(["rm", "-rf", home])

    works = [("ours", ours.pids, lambda: fetch(ours.url)), ("nginx, the same answers as files", nginx.pids, lambda: fetch(nginx.url))]
    rows = rounds(arguments.rounds, works)
    wall = {label: median([wall for _, wall, _ in some]) for label, some in rows.items()}
    lines = [(label, f"{wall[label]:.2f}", f"{median([cpu for cpu, *_ in rows[label]]):.2f}") for label, *_ in works]
    table([f"snapshot_download of {arguments.files} files", "wall s", "server CPU s"], lines)
    print(f"{wall['ours'] / wall[works[1][0]]:.2f} × the wall time; target 1.3 (1.1)\n")


if __name__ == "__main__":
    main()
