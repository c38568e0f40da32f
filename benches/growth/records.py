"""Durable records a second with some in flight: the keeper's log on SQLite and on PostgreSQL, against a file that is there
already and is made durable by groups, on the same disk, in turn."""

from pathlib import Path

from .draw import curves
from .house import Server, bench, table


def durable(folder):
    """PostgreSQL as an operator runs it: the tests' own does without fsync."""
    from postgres import Postgres

    class Durable(Postgres):
        def start(self):
            options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=on -c synchronous_commit=on"
            self.run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o", options, "start")

    return Durable()


def run(server, options, charts):
    server.stop()
    found = bench("records", server.data, server.root_key, options.rounds)
    server.start()
    folder = Path(server.folder) / "postgres"
    folder.mkdir()
    postgres = durable(folder)
    try:
        name, passwords, lines = postgres.database(folder)
        other = Server(folder, lines)
        other.stop()
        url = f"postgres://strongroom_keeper@127.0.0.1:{postgres.port}/{name}"
        found += bench("records", other.data, other.root_key, options.rounds, url, folder / "keeper.password")
    finally:
        postgres.remove()
    rows = [(each["database"], each["flight"], round(each["ours"]), round(each["file"]), each["ratio"], each["ours_cpu_us"], each["file_cpu_us"]) for each in found]
    table(["database", "in flight", "ours, records/s", "file, records/s", "ours/file", "ours, CPU µs each", "file, CPU µs each"], rows)
    series = {name: [(each["flight"], each["ours"]) for each in found if each["database"] == name] for name in ("sqlite", "postgresql")}
    series["file"] = [(each["flight"], each["file"]) for each in found if each["database"] == "sqlite"]
    curves(charts / "growth-records.svg", "Durable records a second over records in flight", series)
