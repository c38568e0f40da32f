"""A throw-away PostgreSQL server, Debian's, on loopback."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"


def programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Postgres:
    """One cluster; each Strongroom server gets a database of its own, set up as an operator would."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
        self.password = secrets.token_hex(16)
        (self.folder / "password").write_text(self.password)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            shutil.chown(self.folder / "password", "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        data = self.folder / "data"
        self.run("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", self.folder / "password", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def run(self, program, *arguments):
        # Neither initdb nor postgres runs as root.
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, programs() / program, *arguments]
        done = subprocess.run([str(part) for part in command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=200"
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-m", "immediate", "stop")

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)

    def psql(self, database, *arguments, user="postgres", password=None, fails=False):
        environment = {**os.environ, "PGPASSWORD": password or self.password}
        command = ["psql", "-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", str(self.port), "-U", user, *arguments, database]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout

    def database(self, folder):
        """A fresh database, and the configuration that names it."""
        name = "strongroom_" + secrets.token_hex(4)
        self.psql("postgres", "-c", f"CREATE DATABASE {name}")
        passwords = {role: f"{self.password}-{role}" for role in ("keeper", "gate")}
        variables = [part for role, word in passwords.items() for part in ("-v", f"{role}_password={word}")]
        self.psql(name, *variables, "-f", str(DEPLOY / "postgresql.sql"))
        lines = ["[database]"]
        for key, role in (("keeper", "keeper"), ("catalog", "gate")):
            file = Path(folder) / f"{role}.password"
            file.write_text(passwords[role] + "\n")
            file.chmod(0o400)
            lines += [f'{key} = "postgres://strongroom_{role}@127.0.0.1:{self.port}/{name}"', f'{key}_password_file = "{file}"']
        return name, passwords, "\n".join(lines) + "\n"
