"""What the benchmarks share: a release server, nginx over TLS 1.3 with the same certificate, CPU seconds of processes, rounds that
take turns, medians, Markdown tables, and curves as SVG."""

import json
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/strongroom/target"))
os.environ.setdefault("STRONGROOM_BIN", str(TARGET / "release" / "strongroom"))
os.environ.setdefault("STRONGROOM_TEST_PEERS", str(Path.home() / ".cache/strongroom/peers"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "server"))
from conftest import Server, free_port, unlimited  # noqa: E402, F401

TICKS = os.sysconf("SC_CLK_TCK")
REPO = "admin/bench"


def cpu(pids):
    """User and system seconds of these processes, all threads."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident(pids):
    text = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", one)[1]) for one in text) / 1024


def descendants(pid):
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += descendants(int(child))
    return found


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "-f", "--tlsv1.3", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wrk(url, seconds, connections, *headers, script=None):
    """Requests that were answered, and how many a second. Anything but 200 and 206 ends the benchmark."""
    command = ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    for header in headers:
        command += ["-H", header]
    if script:
        command += ["-s", str(script)]
    done = subprocess.run([*command, url], capture_output=True, text=True)
    assert done.returncode == 0 and "Non-2xx" not in done.stdout, done.stdout + done.stderr
    return int(re.search(r"(\d+) requests in", done.stdout)[1]), float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])


class Ours:
    """A server with one repository; its two processes are what is measured."""

    def __init__(self, folder, config=""):
        folder.mkdir(parents=True, exist_ok=True)
        self.server = Server(folder, config)
        self.url, self.ca, self.owner = self.server.url, self.server.ca, self.server.owner
        self.pids = [self.server.child("gate"), self.server.child("keeper")]
        self.auth = f"Authorization: Bearer {self.owner.token}"
        made = self.owner.http("POST", "/api/repos/create", {"name": "bench", "organization": "admin"})
        assert made.status == 200, made.body

    def offer(self, path, repo=REPO):
        """Where this file is to be PUT, and its digest."""
        with open(path, "rb") as file:
            oid = hashlib.file_digest(file, "sha256").hexdigest()
        objects = [{"oid": oid, "size": path.stat().st_size}]
        answer = self.owner.http("POST", f"/{repo}.git/info/lfs/objects/batch", {"operation": "upload", "transfers": ["basic"], "objects": objects})
        return oid, answer.json()["objects"][0]["actions"]["upload"]["href"]

    def put(self, path, href):
        curl("--cacert", self.ca, "-T", path, href)

    def link(self, name, oid, size, repo=REPO):
        self.commit([{"key": "lfsFile", "value": {"path": name, "algo": "sha256", "oid": oid, "size": size}}], repo)

    def commit(self, lines, repo=REPO):
        body = "\n".join(map(json.dumps, [{"key": "header", "value": {"summary": "bench"}}, *lines])).encode()
        answer = self.owner.http("POST", f"/api/models/{repo}/commit/main", body)
        assert answer.status == 200, answer.body

    def get(self, name, repo=REPO):
        curl("--cacert", self.ca, "-H", self.auth, "-o", "/dev/null", f"{self.url}/{repo}/resolve/main/{name}")


class Nginx:
    """Static files over TLS 1.3 with our server's certificate, one worker, sendfile."""

    def __init__(self, folder, ours, root, more=""):
        self.root = root
        port = free_port()
        tls = ours.server.data / "tls"
        conf = folder / "nginx.conf"
        conf.write_text(f"""
user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; client_body_temp_path {folder}/body; keepalive_requests 100000000; types {{ }} default_type application/octet-stream;
  server {{ listen 127.0.0.1:{port} ssl backlog=4096; ssl_protocols TLSv1.3;
    ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server.key; root {root}; {more} }} }}
""")
        subprocess.run(["nginx", "-c", str(conf)], check=True)
        time.sleep(0.5)
        self.url = f"https://localhost:{port}"
        self.ca = ours.ca
        self.pids = descendants(int((folder / "nginx.pid").read_text()))

    def get(self, name):
        curl("--cacert", self.ca, "-o", "/dev/null", f"{self.url}/{name}")

    def stop(self):
        subprocess.run(["kill", str(self.pids[0])])


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        yield Path(folder)


def fill(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 24)))


def rounds(count, works):
    """Each work once a round, by turns; a work is (label, pids, run). Gives for each label the CPU seconds, the wall seconds and
    what `run` gave, of all rounds."""
    rows = {label: [] for label, *_ in works}
    for _ in range(count):
        for label, pids, run in works:
            before, began = cpu(pids), time.monotonic()
            given = run()
            wall = time.monotonic() - began
            # What is done behind an answer is a part of its cost.
            time.sleep(0.2)
            rows[label].append((cpu(pids) - before, wall, given))
    return rows


def median(values):
    return statistics.median(values)


def table(head, lines):
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for line in lines:
        print("| " + " | ".join(str(part) for part in line) + " |")
    print(flush=True)


def curve(path, title, unit, series):
    """Points of each series over a logarithmic x, as an SVG. `series` is {name: [(x, y)]}."""
    import math

    width, height, left, bottom = 640, 320, 60, 40
    points = [point for line in series.values() for point in line]
    low, high = (function(math.log10(x) for x, _ in points) for function in (min, max))
    top = max(y for _, y in points) * 1.15
    across = lambda x: left + (math.log10(x) - low) / ((high - low) or 1) * (width - left - 150)
    up = lambda y: height - bottom - y / top * (height - bottom - 30)
    colours = ["#1b6ca8", "#c8553d", "#3c8d53", "#7a5195", "#b08900", "#444444"]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="18" font-weight="bold">{title}</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(f'<text x="{across(10**power):.0f}" y="{height - 20}" text-anchor="middle">10^{power}</text>')
    for step in range(5):
        y = top * step / 4
        parts.append(f'<line x1="{left}" x2="{width - 150}" y1="{up(y):.0f}" y2="{up(y):.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{up(y) + 4:.0f}" text-anchor="end">{y:.3g}</text>')
    for at, (name, line) in enumerate(series.items()):
        colour = colours[at % len(colours)]
        places = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        parts.append(f'<text x="{width - 140}" y="{40 + 16 * at}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{left}" y="{height - 4}">{unit}</text></svg>')
    Path(path).write_text("\n".join(parts) + "\n")
