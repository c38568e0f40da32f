"""A decision as grants become more: the judge alone (benches/keeper.rs), in one thread."""

from .draw import curves
from .house import bench, grown, powers, table


def run(_, options, charts):
    rows = []
    for grants in powers(2, options.grants):
        found = bench("decide", grants, options.rounds)[0]
        keys = ("allow_us", "refuse_us", "kept_us", "compartments_us", "add_us", "remove_us", "load_ms")
        rows.append((grants, *(found[key] for key in keys), found["kib"] / 1024))
    names = ["allow", "refuse", "asked again", "six compartments", "add a grant", "remove it"]
    table(["grants", *(f"{name}, µs" for name in names), "load, ms", "MiB"], rows)
    print("\n" + "; ".join(f"{name} {grown(rows, at)}" for at, name in enumerate(names, 1)))
    series = {name: [(row[0], row[at]) for row in rows] for at, name in enumerate(names, 1)}
    curves(charts / "growth-decisions.svg", "A decision (µs) over grants", series)
