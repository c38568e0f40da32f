"""The log to a collector, by syslog over TLS (RFC 5425): each line with its length before it, none lost, to nobody else."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

from conftest import commit
from test_alerts import Receiver, within


class Collector:
    """A TLS server that takes what RFC 5425 sends, with the certificates of a receiver."""

    def __init__(self, receiver):
        receiver.stop()
        self.receiver, self.lines, self.port, self.held = receiver, [], 0, []
        self.start()

    def start(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.receiver.folder / "own.pem", self.receiver.folder / "own.key")
        self.socket = socket.create_server(("127.0.0.1", self.port))
        self.port = self.socket.getsockname()[1]
        self.failed = []
        threading.Thread(target=self.serve, args=(context, self.socket), daemon=True).start()

    def serve(self, context, listener):
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                connection = context.wrap_socket(plain, server_side=True)
            except OSError as error:
                self.failed.append(error)
                continue
            self.held.append(connection)
            threading.Thread(target=self.take, args=(connection,), daemon=True).start()

    def take(self, connection):
        held = b""
        try:
            while piece := connection.recv(65536):
                held += piece
                while (length := re.match(rb"([1-9]\d*) ", held)) and len(held) >= length.end() + int(length[1]):
                    end = length.end() + int(length[1])
                    self.lines.append(held[length.end() : end].decode())
                    held = held[end:]
        except OSError:
            pass
        # As collectors do when nothing more comes.
        connection.close()

    def stop(self):
        # A thread that waits in accept keeps the socket otherwise.
        if self.socket.fileno() >= 0:
            self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
        for connection in self.held:
            connection.close()
        self.held = []

    def records(self):
        return [json.loads(line[line.index("] {") + 2 :])["record"] for line in self.lines]


@pytest.fixture
def collector(tmp_path):
    made = Collector(Receiver(tmp_path / "collector"))
    yield made
    made.stop()


def export(person, collector, *more):
    return [person.server.program, "audit", "export", "--format", "syslog", "--to", f"tls://localhost:{collector.port}", *map(str, more)]


def test_a_collector_gets_every_record_as_standard_output_does(make_server, collector):
    server = make_server()
    analyst = server.person("analyst", ("auditor", None))
    server.owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(server.owner, "admin/llm", {"README.md": b"words", "\u00e9\u4e2d.md": b"not of ASCII: a length counts bytes"})
    ca = ("--to-ca", collector.receiver.folder / "ca.pem")
    analyst.run(export(analyst, collector, *ca))
    shown = analyst.run([server.program, "audit", "export", "--format", "syslog"]).stdout.splitlines()
    within(5, lambda: len(collector.lines) >= 15)
    assert shown[: len(collector.lines)] == collector.lines
    assert collector.records() == list(range(len(collector.lines)))
    assert all(re.match(r"<1(08|10)>1 \d{4}-", line) for line in collector.lines)
    # Only syslog goes there, and only over TLS.
    assert "--format syslog" in analyst.run(export(analyst, collector, *ca)[:4] + ["jsonl"] + export(analyst, collector, *ca)[5:], fails=True).stderr
    plain = [part.replace("tls://", "tcp://") for part in export(analyst, collector, *ca)]
    assert "tls://HOST:PORT" in subprocess.run([str(part) for part in plain], capture_output=True, text=True).stderr


def test_a_collector_whose_certificate_does_not_hold_gets_not_one_line(make_server, collector, tmp_path):
    server = make_server()
    analyst = server.person("analyst", ("auditor", None))
    other = Receiver(tmp_path / "other")
    other.stop()
    refused = analyst.run(export(analyst, collector, "--to-ca", other.folder / "ca.pem"), fails=True)
    assert "certificate" in refused.stderr
    within(5, lambda: collector.failed)
    assert collector.lines == []
    gone = export(analyst, collector, "--to-ca", collector.receiver.folder / "ca.pem")
    collector.stop()
    assert "refused" in analyst.run(gone, fails=True).stderr


def test_whoever_follows_waits_for_a_collector_that_is_gone_and_loses_no_record(make_server, collector):
    server = make_server()
    analyst = server.person("analyst", ("auditor", None))
    command = export(analyst, collector, "--to-ca", collector.receiver.folder / "ca.pem", "--follow")
    following = subprocess.Popen([str(part) for part in command], env=analyst.environment(), stderr=subprocess.PIPE, text=True)
    try:
        within(10, lambda: collector.lines)
        collector.stop()
        server.owner.strongroom("user", "create", "somebody")
        # What goes into a connection that nobody reads any more is lost; then it fails, and all that a page has comes again.
        for _ in range(4):
            server.owner.http("GET", "/api/whoami-v2")
            time.sleep(2)
        collector.start()
        server.owner.strongroom("user", "create", "somebody-else")
        within(20, lambda: any("somebody-else" in line for line in collector.lines))
        last = max(collector.records())
        missing = set(range(last + 1)) - set(collector.records())
        assert not missing, missing
    finally:
        following.kill()
        following.wait()
