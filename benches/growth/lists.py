"""The first page of twenty repositories, and a later one, as they become more: for one who sees all, and for one who sees five."""

import json
import re
import statistics
import sys
import threading

from .draw import curves
from .house import Client, grown, powers, start, table

MAKERS = 4


def make(server, names):
    """Repositories, over some connections at once."""
    def work(own):
        client = Client(server)
        for name in own:
            client.create(name)

    threads = [threading.Thread(target=work, args=(names[at::MAKERS],)) for at in range(MAKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(server, options, charts):
    make(server, [f"few{n}" for n in range(5)])
    person = server.person("few", *(("reader", f"admin/few{n}") for n in range(5)))
    held, rows = 5, []
    for size in powers(2, options.repos):
        make(server, [f"r{n}" for n in range(held, size)])
        held = size
        starts = statistics.median(start(server) for _ in range(options.rounds)) * 1e3
        owner, few = Client(server), Client(server, person)
        path = f"/api/models?limit=20"
        for _ in range(3):
            owner.ask("GET", path)
            path = re.fullmatch(r"<https://[^/]+(/.*)>.*", owner.link)[1]
        assert len(json.loads(few.ask("GET", "/api/models?limit=20"))) == 5
        cost = lambda client, path: client.cost(options.rounds, options.operations, lambda n: client.ask("GET", path))
        rows.append((
            size,
            cost(owner, "/api/models?limit=20"),
            cost(owner, "/api/models?limit=20&sort=createdAt"),
            cost(owner, path),
            cost(few, "/api/models?limit=20"),
            cost(owner, "/api/models?limit=20&search=r"),
            cost(owner, "/api/models?limit=20&search=no-such-name"),
            starts,
        ))
        print(rows[-1], file=sys.stderr, flush=True)
    names = ["lastModified", "createdAt", "fourth page", "one who sees 5", "search: all fit", "search: none fits", "start"]
    table(["repositories", *(f"{name}, ms" for name in names)], rows)
    print("\n" + "; ".join(f"{name} {grown(rows, at)}" for at, name in enumerate(names, 1)))
    series = {name: [(row[0], row[at]) for row in rows] for at, name in enumerate(names, 1)}
    curves(charts / "growth-lists.svg", "Server CPU of a page of 20 (ms; start: wall) over repositories", series)
