#!/usr/bin/env python3
"""Resident memory of gate and keeper together while many clients read one large object, and while many write.

usage: benches/memory.py [--gib N] [--downloads N] [--uploads N] [--upload-mib N]
Needs: cargo build --release, curl. Prints Markdown for docs/performance.md.
"""

import argparse
import os
import subprocess
import threading
import time

from bench import Ours, REPO, fill, resident, scratch, table, unlimited


class Watch:
    """The most that was resident, and the most of each tenth of the time: flat, or growing."""

    def __init__(self, pids):
        self.pids, self.seen, self.done = pids, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.is_set():
            self.seen.append(resident(self.pids))
            time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def line(self, label):
        tenth = max(1, len(self.seen) // 10)
        second, last = max(self.seen[tenth : 2 * tenth] or self.seen), max(self.seen[-tenth:])
        return (label, f"{self.seen[0]:.0f}", f"{second:.0f}", f"{last:.0f}", f"{max(self.seen):.0f}")


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("--gib", type=int, default=4)
    parse.add_argument("--downloads", type=int, default=32)
    parse.add_argument("--uploads", type=int, default=64)
    parse.add_argument("--upload-mib", type=int, default=128)
    arguments = parse.parse_args()
    with scratch() as folder:
        ours = Ours(folder / "ours", unlimited(folder / "policies"))
        lines = []
        try:
            large = folder / "large.bin"
            fill(large, arguments.gib << 30)
            oid, href = ours.offer(large)
            with Watch(ours.pids) as watch:
                ours.put(large, href)
            lines.append(watch.line(f"1 upload of {arguments.gib} GiB"))
            ours.link("large.bin", oid, arguments.gib << 30)
            large.unlink()
            command = ["curl", "-sS", "-f", "--cacert", str(ours.ca), "-H", ours.auth, "-o", "/dev/null", f"{ours.url}/{REPO}/resolve/main/large.bin"]
            lines.append(together(ours, [command] * arguments.downloads, f"{arguments.downloads} downloads of {arguments.gib} GiB (target 100, stretch 64)"))
            commands = []
            small = folder / "small.bin"
            fill(small, arguments.upload_mib << 20)
            for at in range(arguments.uploads):
                path = folder / f"up{at}.bin"
                subprocess.run(["cp", "--reflink=auto", small, path], check=True)
                with open(path, "r+b") as file:
                    file.write(os.urandom(32))
                commands.append(["curl", "-sS", "-f", "--cacert", str(ours.ca), "-T", str(path), ours.offer(path)[1]])
            lines.append(together(ours, commands, f"{arguments.uploads} uploads of {arguments.upload_mib} MiB (target 160, stretch 96)"))
        finally:
            ours.server.stop()
        table(["MiB resident, gate and keeper together", "before", "in the second tenth", "in the last tenth", "at most"], lines)


def together(ours, commands, label):
    with Watch(ours.pids) as watch:
        clients = [subprocess.Popen(command) for command in commands]
        assert not any([client.wait() for client in clients])
    return watch.line(label)


if __name__ == "__main__":
    main()
