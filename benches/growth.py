#!/usr/bin/env python3
"""What growth costs: Markdown for docs/growth.md, and its curves. Server CPU is user and system time of gate and keeper.

usage: benches/growth.py [PART]... [--files N] [--repos N] [--records N] [--grants N] [--rounds N] [--operations N] [--charts FOLDER]
PART: files, lists, log, decisions, records; all of them where none is named.
Needs: cargo build --release --workspace --bin strongroom --example keeper-bench; pytest; for `records` Debian's PostgreSQL.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from growth import decisions, files, lists, log, records
from growth.house import ROOT, Server, unlimited

PARTS = {"files": files, "lists": lists, "log": log, "decisions": decisions, "records": records}


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("parts", nargs="*", metavar="PART")
    parse.add_argument("--files", type=int, default=100_000)
    parse.add_argument("--repos", type=int, default=100_000)
    parse.add_argument("--records", type=int, default=10_000_000)
    parse.add_argument("--grants", type=int, default=100_000)
    parse.add_argument("--rounds", type=int, default=7)
    parse.add_argument("--operations", type=int, default=20)
    parse.add_argument("--charts", type=Path, default=ROOT / "docs")
    options = parse.parse_args()
    for name in options.parts or PARTS:
        folder = Path(tempfile.mkdtemp(prefix="strongroom-growth-"))
        server = None if name == "decisions" else Server(folder, unlimited(folder / "policies"))
        print(f"\n## {name}")
        try:
            PARTS[name].run(server, options, options.charts)
        finally:
            if server:
                server.stop()
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
