"""The log and alerts to a collector, by syslog over TLS (RFC 5425): each line with its length before it, none lost, to nobody else."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import commit
from test_alerts import Receiver, alerts, children, rules, within


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


# Alerts


def to(collector, folder, host="127.0.0.1", allow=("127.0.0.0/8",), ca=None):
    """Configuration of a server whose alerts go to a collector."""
    ca = ca or collector.receiver.folder / "ca.pem"
    sink = f'[alerts]\nsyslog = "tls://{host}:{collector.port}"\nsyslog_ca_file = "{ca}"\nallow = {json.dumps(list(allow))}\n'
    return sink + rules(folder)


def told(collector):
    return {alert["id"]: alert for alert in (json.loads(line[line.index("] {") + 2 :]) for line in collector.lines)}


def test_a_collector_gets_each_alert_over_tls_also_those_from_while_it_was_gone(make_server, collector, tmp_path):
    server = make_server(to(collector, tmp_path / "policies"))
    watch = server.person("watch", ("security", None))
    shown = lambda: {alert["id"]: alert for alert in alerts(watch)}
    within(10, lambda: told(collector) == shown() != {}, server.log())
    assert all(re.match(r"<105>1 \d{4}-\S+ - strongroom - alert\.\w+ \[strongroom@32473 id=", line) for line in collector.lines)
    # The process that speaks to the outside holds no key, reads no file and runs no program.
    [courier] = children(server.child("keeper"))
    assert re.search(r"Seccomp:\s+2", Path(f"/proc/{courier}/status").read_text()) and not Path(f"/proc/{courier}/environ").read_bytes()
    collector.stop()
    watch.strongroom("decoy", "plant", "--repo", "admin/bait")
    server.person("reader", ("reader", "admin")).http("GET", "/api/models/admin/bait")
    within(10, lambda: "not delivered yet" in server.log())
    assert any(alert["alert"] == "decoy" for alert in shown().values()) and told(collector) != shown()
    collector.start()
    within(20, lambda: told(collector) == shown(), server.log())


@pytest.mark.parametrize("wrong", ["another CA", "another name"])
def test_a_collector_whose_certificate_does_not_hold_gets_no_alert(make_server, collector, tmp_path, wrong):
    other = Receiver(tmp_path / "other", names="DNS:elsewhere.example")
    ca = other.folder / "ca.pem"
    collector = Collector(other) if wrong == "another name" else collector
    other.stop()
    server = make_server(to(collector, tmp_path / "policies", ca=ca))
    watch = server.person("watch", ("security", None))
    # It is tried more than once, and no line of it is seen.
    within(15, lambda: server.log().count("not delivered yet") > 1, server.log())
    assert "certificate" in server.log() and alerts(watch)
    assert collector.failed and not collector.lines
    collector.stop()


def test_a_collector_inside_is_not_even_asked_unless_it_is_allowed(make_server, collector, tmp_path):
    # Whoever connects, and says nothing, is seen too.
    collector.stop()
    # By a name that only a name service tells to be inside: this machine's own.
    host = socket.gethostname()
    inside = socket.getaddrinfo(host, None)[0][4][0]
    listener = socket.create_server((inside, collector.port), family=socket.AF_INET6 if ":" in inside else socket.AF_INET)
    listener.setblocking(False)
    server = make_server(to(collector, tmp_path / "policies", host=host, allow=["192.0.2.0/24"]))
    # Not only does the start say so: the delivery fails of it.
    within(15, lambda: "not delivered yet" in server.log(), server.log())
    assert all("`allow` does not name it" in line for line in server.log().splitlines() if "not delivered yet" in line)
    with pytest.raises(BlockingIOError):
        listener.accept()
    # A start does not pass over an address that is inside for certain, nor over a CA that judges nothing.
    file = tmp_path / "refused.toml"
    doctor = [server.program, "doctor", "--config", file, "--data-dir", tmp_path / "d", "--root-key", tmp_path / "k", "--json"]
    for host in ("127.0.0.1", "[::1]", "localhost", "169.254.169.254"):
        file.write_text(f'[alerts]\nsyslog = "tls://{host}:6514"\n')
        done = subprocess.run([str(part) for part in doctor], capture_output=True, text=True)
        assert done.returncode == 1 and "alerts.syslog gets nothing" in done.stdout, (host, done.stdout)
    file.write_text('[alerts]\nsyslog = "tcp://127.0.0.1:514"\nsyslog_ca_file = "ca.pem"\n')
    assert "syslog_ca_file is for" in subprocess.run([str(part) for part in doctor], capture_output=True, text=True).stderr
    listener.close()
