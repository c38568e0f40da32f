#!/usr/bin/env python3
"""Whether time tells a repository that is hidden from one that does not exist: the same person, without any right, asks for
both in turn over one connection; a second name that does not exist is the control.

usage: benches/hidden.py [--requests N]
Needs: cargo build --release. Prints Markdown for docs/performance.md. `told apart` is the chance that a guess from one
answer's time is right (0.50: a coin).
"""

import argparse
import bisect
import http.client
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "server"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/strongroom/target"))
os.environ.setdefault("STRONGROOM_BIN", str(TARGET / "release" / "strongroom"))
os.environ.setdefault("STRONGROOM_TEST_PEERS", "")
from conftest import Server, commit  # noqa: E402


def told_apart(one, other):
    """The area under the ROC curve, from one side."""
    other = sorted(other)
    above = sum((bisect.bisect_left(other, value) + bisect.bisect_right(other, value)) / 2 for value in one)
    area = above / len(one) / len(other)
    return max(area, 1 - area)


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--requests", type=int, default=3000)
    count = parse.parse_args().requests
    server = Server(tempfile.mkdtemp(prefix="strongroom-hidden-"))
    try:
        server.owner.http("POST", "/api/repos/create", {"name": "hidden", "organization": "admin"})
        commit(server.owner, "admin/hidden", {f"f{n}.md": b"x" * 100 for n in range(50)})
        server.owner.http("POST", "/api/repos/create", {"name": "other", "organization": "admin"})
        person = server.person("curious", ("reader", "admin/other"))
        connection = http.client.HTTPSConnection("localhost", server.port, context=server.tls())
        print("| request | hidden, median µs | absent | absent too | told apart | control |\n| --- | --- | --- | --- | --- | --- |")
        for label, path in [("info", "/api/models/admin/{}"), ("file", "/admin/{}/resolve/main/f1.md"), ("tree", "/api/models/admin/{}/tree/main")]:
            times, answers = {"hidden": [], "absent": [], "nobody": []}, {}
            for turn in range(count):
                names = list(times)
                random.shuffle(names)
                for name in names:
                    began = time.perf_counter_ns()
                    connection.request("GET", path.format(name), headers={"Authorization": f"Bearer {person.token}"})
                    answer = connection.getresponse()
                    body = answer.read()
                    # The first hundred warm caches.
                    if turn >= 100:
                        times[name].append(time.perf_counter_ns() - began)
                    answers[name] = (answer.status, body.replace(name.encode(), b""))
            assert len(set(answers.values())) == 1 and answers["hidden"][0] == 404, answers
            middle = {name: statistics.median(values) / 1000 for name, values in times.items()}
            print(
                f"| {label} | {middle['hidden']:.0f} | {middle['absent']:.0f} | {middle['nobody']:.0f} | "
                f"{told_apart(times['hidden'], times['absent']):.3f} | {told_apart(times['nobody'], times['absent']):.3f} |"
            )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
