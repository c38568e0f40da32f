#!/usr/bin/env python3
"""Server CPU-seconds per GB and wall MB/s of a download and an upload, beside nginx serving the same plaintext over TLS 1.3;
requests per second of a small file with its durable record; resident memory during parallel downloads.

usage: benches/transfer.py [--gib N] [--memory-gib N] [--parallel N]
Needs: cargo build --release, nginx (Debian: nginx-light), curl, openssl. Prints Markdown for docs/performance.md.
"""

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "server"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/strongroom/target"))
os.environ.setdefault("STRONGROOM_BIN", str(TARGET / "release" / "strongroom"))
os.environ.setdefault("STRONGROOM_TEST_PEERS", "")
from conftest import Server  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pids):
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident(pids):
    text = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", one)[1]) for one in text) / 1024


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "-f", "--tlsv1.3", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measure(label, pids, size, run, rows):
    before, began = cpu(pids), time.monotonic()
    run()
    wall, used = time.monotonic() - began, cpu(pids) - before
    rows.append((label, used / size * 1e9, size / wall / 1e6))


def start_nginx(folder, server, content):
    port = server.port + 1 if server.port < 65000 else server.port - 1
    conf = folder / "nginx.conf"
    conf.write_text(f"""
user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; client_body_temp_path {folder}/body; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;
    ssl_certificate {server.data}/tls/server.pem; ssl_certificate_key {server.data}/tls/server.key;
    root {content.parent}; }} }}
""")
    subprocess.run(["nginx", "-c", str(conf)], check=True)
    time.sleep(0.5)
    master = int((folder / "nginx.pid").read_text())
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return f"https://localhost:{port}", [master, *map(int, children)], master


def upload(server, repo, path, size):
    owner = server.owner
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    oid = digest.hexdigest()
    offer = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": size}]}
    offer = owner.http("POST", f"/{repo}.git/info/lfs/objects/batch", offer).json()["objects"][0]
    return oid, offer["actions"]["upload"]["href"]


def link(server, repo, name, oid, size):
    lines = [{"key": "header", "value": {"summary": name}}]
    lines.append({"key": "lfsFile", "value": {"path": name, "algo": "sha256", "oid": oid, "size": size}})
    body = "\n".join(map(json.dumps, lines)).encode()
    assert server.owner.http("POST", f"/api/models/{repo}/commit/main", body).status == 200


def fill(path, gib):
    with open(path, "wb") as file:
        for _ in range(gib * 64):
            file.write(os.urandom(1 << 24))


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--gib", type=int, default=1)
    parse.add_argument("--memory-gib", type=int, default=4)
    parse.add_argument("--parallel", type=int, default=32)
    parse.add_argument("--rounds", type=int, default=3)
    arguments = parse.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="strongroom-bench-"))
    server = Server(folder)
    ours = [server.child("gate"), server.child("keeper")]
    owner, ca = server.owner, server.ca
    owner.http("POST", "/api/repos/create", {"name": "bench", "organization": "admin"})
    repo, size = "admin/bench", arguments.gib << 30
    content = folder / "www" / "file.bin"
    content.parent.mkdir()
    fill(content, arguments.gib)
    (content.parent / "small.txt").write_bytes(b"x" * 128)
    base, nginx, master = start_nginx(folder, server, content)
    auth = ["-H", f"Authorization: Bearer {owner.token}"]
    rows = []
    try:
        for turn in range(arguments.rounds):
            name = f"file-{turn}.bin"
            # Another content each time: what is there already is not sent again.
            with open(content, "r+b") as file:
                file.write(os.urandom(64))
            oid, href = upload(server, repo, content, size)
            put = lambda: curl("--cacert", ca, "-T", content, href)
            measure("upload (LFS PUT): hash, seal, write, fsync", ours, size, put, rows)
            link(server, repo, name, oid, size)
            get = lambda: curl("--cacert", ca, *auth, "-o", "/dev/null", f"{server.url}/{repo}/resolve/main/{name}")
            plain = lambda: curl("--cacert", ca, "-o", "/dev/null", f"{base}/file.bin")
            measure("nginx download, plaintext", nginx, size, plain, rows)
            measure("download: decide, record, open, decrypt", ours, size, get, rows)
        print(f"| {arguments.gib} GiB over TLS 1.3, {arguments.rounds} rounds, median | server CPU-s/GB | wall MB/s |\n| --- | --- | --- |")
        medians = {}
        for label in dict.fromkeys(row[0] for row in rows):
            some = sorted(row[1:] for row in rows if row[0] == label)
            medians[label] = some[len(some) // 2]
            print(f"| {label} | {medians[label][0]:.2f} | {medians[label][1]:.0f} |")
        # Small files: eight clients, each over one connection.
        body = b'{"key":"header","value":{"summary":"s"}}\n{"key":"file","value":{"path":"small.md","content":"' + b"eHh4" * 42 + b'"}}'
        assert owner.http("POST", f"/api/models/{repo}/commit/main", body).status == 200
        count = 400
        for label, pids, url, header in [
            ("ours: decision, three durable records, 126 bytes", ours, f"{server.url}/{repo}/resolve/main/small.md", auth),
            ("nginx: 128 bytes", nginx, f"{base}/small.txt", []),
        ]:
            config = folder / "urls.txt"
            config.write_text(f'url = "{url}"\noutput = "/dev/null"\n' * count)
            before, began = cpu(pids), time.monotonic()
            clients = [subprocess.Popen(["curl", "-sS", "-f", "--cacert", str(ca), *header, "-K", str(config)]) for _ in range(8)]
            assert [client.wait() for client in clients] == [0] * 8
            wall, used = time.monotonic() - began, cpu(pids) - before
            print(f"\n{label}: {8 * count / wall:.0f} requests/s, {used / (8 * count) * 1e6:.0f} µs server CPU each (8 connections)")
        big = arguments.memory_gib << 30
        fill(content, arguments.memory_gib)
        oid, href = upload(server, repo, content, big)
        most = [0.0]
        done = threading.Event()

        def watch():
            while not done.is_set():
                most[0] = max(most[0], resident(ours))
                time.sleep(0.1)

        idle = resident(ours)
        watcher = threading.Thread(target=watch)
        watcher.start()
        curl("--cacert", ca, "-T", content, href)
        done.set(), watcher.join()
        print(f"\nResident memory of gate and keeper: {idle:.0f} MiB before, at most {most[0]:.0f} MiB during an upload of {arguments.memory_gib} GiB")
        link(server, repo, "big.bin", oid, big)
        most[0], done = 0.0, threading.Event()
        watcher = threading.Thread(target=watch)
        watcher.start()
        command = ["curl", "-sS", "-f", "--cacert", str(ca), *auth, "-o", "/dev/null", f"{server.url}/{repo}/resolve/main/big.bin"]
        clients = [subprocess.Popen(command) for _ in range(arguments.parallel)]
        assert [client.wait() for client in clients] == [0] * arguments.parallel
        done.set(), watcher.join()
        print(f"\nat most {most[0]:.0f} MiB during {arguments.parallel} parallel downloads of it")
    finally:
        os.kill(master, signal.SIGTERM)
        server.stop()
        subprocess.run(["rm", "-rf", str(folder)])


if __name__ == "__main__":
    main()
