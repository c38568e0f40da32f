#!/usr/bin/env python3
"""One large file down, sealed for a partner, and up: CPU seconds of the server for each GB, beside nginx serving the same plaintext, beside what the
cryptography of an upload costs alone, and beside MLflow's artifact server without TLS and without encryption.

usage: benches/transfer.py [--gib N] [--rounds N] [--mlflow PROGRAM] [--curve FILE]
Needs: cargo build --release --workspace --bins --examples; nginx (Debian: nginx-light), curl, age; for MLflow an environment with `pip install
mlflow`. Prints Markdown for docs/performance.md. With --curve also files of 1 MiB to 1 GiB, as an SVG.
"""

import argparse
import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

from bench import Nginx, Ours, REPO, TARGET, curl, curve, descendants, fill, free_port, median, rounds, scratch, table, unlimited

PRIMITIVES = TARGET / "release" / "examples" / "primitives"


class Mlflow:
    """Its artifact server as its documentation starts it, on plain HTTP, storing plaintext."""

    def __init__(self, program, folder):
        self.url = f"http://127.0.0.1:{(port := free_port())}/api/2.0/mlflow-artifacts/artifacts"
        folder.mkdir()
        command = [program, "server", "--artifacts-only", "--serve-artifacts", "--artifacts-destination", str(folder / "artifacts"),
                   "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=open(folder / "log", "w"), stderr=subprocess.STDOUT)
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < until and self.process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        self.pids = descendants(self.process.pid)

    def put(self, path, name):
        curl("-T", path, f"{self.url}/{name}")

    def get(self, name):
        curl("-o", "/dev/null", f"{self.url}/{name}")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--gib", type=float, default=1)
    parse.add_argument("--rounds", type=int, default=7)
    parse.add_argument("--mlflow")
    parse.add_argument("--curve", type=Path)
    arguments = parse.parse_args()
    with scratch() as folder:
        # A benchmark reads more than any person may in a day.
        ours = Ours(folder / "ours", unlimited(folder / "policies"))
        nginx = Nginx(folder, ours, folder / "www")
        mlflow = Mlflow(arguments.mlflow, folder / "mlflow") if arguments.mlflow else None
        try:
            compare(folder, ours, nginx, mlflow, int(arguments.gib * (1 << 30)), arguments.rounds)
            if arguments.curve:
                growth(folder, ours, nginx, arguments)
        finally:
            nginx.stop()
            ours.server.stop()
            if mlflow:
                mlflow.stop()


def compare(folder, ours, nginx, mlflow, size, count):
    content = folder / "www" / "file.bin"
    fill(content, size)
    turn = [0]

    def up():
        turn[0] += 1
        oid, href = turn[1:]
        ours.put(content, href)
        turn.append((oid, href))

    def fresh():
        # Another content each time: what is there already is not sent again.
        with open(content, "r+b") as file:
            file.write(os.urandom(64))
        turn[1:] = ours.offer(content)

    works = []
    works.append(("prepare", [], fresh))
    works.append(("upload (LFS PUT): hash, seal, write, fsync", ours.pids, up))
    works.append(("link", [], lambda: ours.link("file.bin", turn[1], size)))
    # An upload leaves nothing in the page cache, so the first download reads the disk; nginx's file was written through it.
    works.append(("first download after the upload", ours.pids, lambda: ours.get("file.bin")))
    works.append(("nginx download, plaintext", nginx.pids, lambda: nginx.get("file.bin")))
    works.append(("download: decide, record, open, decrypt", ours.pids, lambda: ours.get("file.bin")))
    works.append(("sealed delivery: decide, record, re-wrap, pass on", ours.pids, sealed_delivery(ours)))
    if mlflow:
        works.append(("MLflow upload", mlflow.pids, lambda: mlflow.put(content, "file.bin")))
        works.append(("MLflow download", mlflow.pids, lambda: mlflow.get("file.bin")))
    alone = lambda: json.loads(subprocess.run([PRIMITIVES], check=True, capture_output=True, text=True).stdout)
    works.append(("alone", [], alone))
    rows = rounds(count, works)
    alone = {name: median([given[name] for _, _, given in rows["alone"]]) for name in rows["alone"][0][2]}
    used = {label: median([cpu for cpu, *_ in some]) / size * 1e9 for label, some in rows.items()}
    wall = {label: size / median([wall for _, wall, _ in some]) / 1e6 for label, some in rows.items()}
    print(f"{size / (1 << 30):g} GiB, {count} rounds by turns, medians:\n")
    lines = [(label, f"{used[label]:.2f}", f"{wall[label]:.0f}") for label, pids, _ in works if pids]
    table(["work", "server CPU-s/GB", "wall MB/s"], lines)
    parts = ", ".join(f"{name} {value:.2f}" for name, value in alone.items())
    total = sum(alone.values())
    upload, first, peer, download, sealed = (used[label] for label, pids, _ in works if pids and "MLflow" not in label and label != "link")
    lines = [("download", "nginx", f"{download / peer:.2f} ×", "1.0 (0.8)"),
             ("passed through with a re-wrapped header", "nginx", f"{sealed / peer:.2f} ×", "0.7 (0.6)"),
             ("upload", f"its cryptography alone ({parts}: {total:.2f} CPU-s/GB)", f"{upload / total:.2f} ×", "1.35 (1.15)")]
    if mlflow:
        both = (used["MLflow upload"] + used["MLflow download"]) / (upload + first)
        lines.append(("up, and down from the disk, bytes for each CPU second", "MLflow", f"{both:.2f} ×", "≥ 2 (4)"))
    table(["work", "beside", "measured", "target (stretch)"], lines)


def sealed_delivery(ours):
    """Fetches the file as a partner with a recipient of their own; the bytes are those of an age file."""
    identity = subprocess.run(["age-keygen"], check=True, capture_output=True, text=True).stdout
    ours.owner.strongroom("user", "create", "sealed-partner")
    ours.owner.strongroom("user", "recipient", "sealed-partner", re.search(r"age1[a-z0-9]+", identity)[0])
    token = None

    def get():
        nonlocal token
        if token is None:
            # Made at the first round: there is a branch to share then.
            made = ours.owner.strongroom("share", "create", f"{REPO}@main", "--follow", "--to", "sealed-partner",
                                         "--compartments", "docs,config,weights,data,code", "--expires", "1d", "--sealed")
            token = made["token"]
        curl("--cacert", ours.ca, "-H", f"Authorization: Bearer {token}", "-o", "/dev/null", f"{ours.url}/api/strongroom/v1/sealed/model/{REPO}/main/file.bin")

    return get


def growth(folder, ours, nginx, arguments):
    series = {"download": [], "nginx": []}
    for power in range(20, 31, 2):
        content = folder / "www" / f"size{power}.bin"
        fill(content, 1 << power)
        oid, href = ours.offer(content)
        ours.put(content, href)
        ours.link(content.name, oid, 1 << power)
        times = max(1, 1 << max(0, 28 - power))
        def again(get):
            for _ in range(times):
                get(content.name)
        rows = rounds(arguments.rounds, [("download", ours.pids, lambda: again(ours.get)), ("nginx", nginx.pids, lambda: again(nginx.get))])
        for label, some in rows.items():
            series[label].append(((1 << power) / 1e6, median([cpu for cpu, *_ in some]) / times / (1 << power) * 1e9))
    curve(arguments.curve, "server CPU-s/GB of a download, by size", "MB", series)
    table(["MB", *series], [(f"{x:.0f}", *(f"{series[name][at][1]:.2f}" for name in series)) for at, (x, _) in enumerate(series["nginx"])])


if __name__ == "__main__":
    main()
