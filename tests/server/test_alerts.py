"""Alerts: what raises one, and how it gets to those who look; told with an analyst, and with receivers that hang, redirect, and lie."""

import base64
import hashlib
import hmac
import http.server
import json
import re
import secrets
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import PROGRAM, STORES, Person, commit
from fleet import Fleet
from postgres import programs
from weed import HAPROXY
from weed import PROGRAM as WEED


def rules(folder, budgets=None, **more):
    """A folder of the shipped policies with other lines in alerts.toml: section__key=value. No turn of an alert ends in a test."""
    shutil.copytree(Path(__file__).parents[2] / "policies", folder)
    file = folder / "alerts.toml"
    text = re.sub(r"every_s = [1-9]\d*", "every_s = 604800", file.read_text())
    for name, value in more.items():
        section, key = name.split("__")
        text, count = re.subn(rf"(?ms)(^\[{section}\]\n(?:[^\[]*\n)?){key} = [^\n]*", rf"\g<1>{key} = {json.dumps(value)}", text)
        assert count == 1, name
    file.write_text(text)
    if budgets:
        (folder / "budgets.toml").write_text(budgets)
    return f'[policies]\nfolder = "{folder}"\n'


def alerts(person, *arguments):
    return person.strongroom("alert", "list", *arguments)["alerts"]


def within(seconds, true, why=""):
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, why
        time.sleep(0.1)
    return found


class Receiver:
    """An https server with a certificate of a CA of its own, which keeps what it is sent."""

    def __init__(self, folder, port=0, names="IP:127.0.0.1,DNS:localhost"):
        self.folder, self.got, self.answer = Path(folder), [], lambda _: (204, {})
        self.folder.mkdir(parents=True, exist_ok=True)
        self.secret = secrets.token_bytes(32)
        file = self.folder / "webhook.secret"
        file.write_text("whsec_" + base64.b64encode(self.secret).decode())
        file.chmod(0o400)
        run = lambda *words: subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-days", "2", "-subj", "/CN=test CA", "-addext", "basicConstraints=critical,CA:TRUE")
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "own.key", "-out", "own.csr",
            "-subj", "/CN=receiver")
        (self.folder / "names").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        run("x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names", "-out", "own.pem")
        self.port = port
        self.start()

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver.answer(self.path)
                if status:
                    receiver.got.append((self.path, dict(self.headers), body))
                    self.send_response(status)
                    [self.send_header(*header) for header in headers.items()]
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            do_GET = do_PUT = do_POST

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "own.pem", self.folder / "own.key")
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    def config(self, host="127.0.0.1", allow=("127.0.0.0/8",)):
        return (
            f'[alerts]\nwebhook = "https://{host}:{self.port}/hook"\nwebhook_secret_file = "{self.folder}/webhook.secret"\n'
            f'webhook_ca_file = "{self.folder}/ca.pem"\nallow = {json.dumps(list(allow))}\n'
        )

    def verified(self):
        """What came, each with a signature that is right."""
        found = []
        for path, headers, body in self.got:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            right = base64.b64encode(hmac.digest(self.secret, signed, hashlib.sha256)).decode()
            assert headers["webhook-signature"] == f"v1,{right}" and abs(int(headers["webhook-timestamp"]) - time.time()) < 120
            message = json.loads(body)
            assert message["type"] == "strongroom.alert" and headers["webhook-id"] == f"alert_{message['data']['id']}"
            found.append(message["data"])
        return found


def test_a_webhook_gets_each_alert_signed_and_as_the_list_shows_it(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    server = make_server(receiver.config() + rules(tmp_path / "policies"))
    watch = server.person("watch", ("security", None))
    reader = server.person("reader", ("reader", "admin"))
    watch.strongroom("decoy", "plant", "--repo", "admin/bait")
    reader.http("GET", "/api/models/admin/bait")
    within(10, lambda: any(alert["alert"] == "decoy" for alert in receiver.verified()), server.log())
    shown = alerts(watch)
    within(10, lambda: len(receiver.got) >= len(shown))
    assert sorted(receiver.verified(), key=lambda alert: alert["id"]) == sorted(shown, key=lambda alert: alert["id"])
    kinds = {alert["alert"] for alert in shown}
    assert kinds == {"seal", "policy", "decoy"}, kinds
    # The process that speaks to the outside holds no key, reads no file and runs no program.
    [courier] = children(server.child("keeper"))
    assert Path(f"/proc/{courier}/cmdline").read_bytes().split(b"\0")[1] == b"courier"
    assert re.search(r"Seccomp:\s+2", Path(f"/proc/{courier}/status").read_text())
    assert not Path(f"/proc/{courier}/environ").read_bytes()
    receiver.stop()


def test_sinks_hear_of_a_seal_although_a_sealed_keeper_reads_no_alert(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    server = make_server(receiver.config() + rules(tmp_path / "policies"))
    within(10, lambda: receiver.verified())
    server.owner.strongroom("seal", "--reason", "somebody is inside")
    server.wait(answer=b"sealed")
    heard = lambda: [alert for alert in receiver.verified() if "system.seal" in json.dumps(alert)]
    within(5, heard, server.log())
    assert server.health() == b"sealed"
    receiver.stop()


def children(pid):
    return [child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def test_a_receiver_that_was_down_gets_all_of_it_and_nothing_waits_for_it(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    receiver.stop()
    server = make_server(receiver.config() + rules(tmp_path / "policies"))
    owner, watch = server.owner, server.person("watch", ("security", None))
    for number in range(5):
        owner.strongroom("user", "create", f"p{number}")
        since = time.monotonic()
        owner.strongroom("role", "grant", f"p{number}", "reader", "--namespace", "admin")
        assert time.monotonic() - since < 3
    server.stop()
    server.start()
    wanted = {alert["id"] for alert in alerts(watch)}
    assert len(wanted) >= 8, "five roles, the analyst's, and two starts"
    # It answers nothing, then not well, and then it does.
    turns = iter([0, 500, 503])
    receiver.answer = lambda _: (next(turns, 204), {})
    receiver.start()
    within(60, lambda: wanted <= {alert["id"] for alert in receiver.verified()}, server.log())
    receiver.stop()


def test_a_redirect_is_not_followed(make_server, tmp_path):
    receiver, elsewhere = Receiver(tmp_path / "receiver"), Receiver(tmp_path / "elsewhere")
    receiver.answer = lambda _: (307, {"Location": f"https://127.0.0.1:{elsewhere.port}/stolen"})
    server = make_server(receiver.config())
    within(10, lambda: receiver.got)
    within(10, lambda: "a redirect is not followed" in server.log(), server.log())
    receiver.answer = lambda _: (302, {"Location": "/other"})
    within(20, lambda: len(receiver.got) > 2)
    assert not elsewhere.got and {path for path, *_ in receiver.got} == {"/hook"}
    receiver.stop(), elsewhere.stop()


def test_an_address_inside_gets_nothing_unless_it_is_allowed(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    # Also by a name that only a name service tells to be inside: this machine's own.
    host = socket.gethostname()
    inside = {info[4][0] for info in socket.getaddrinfo(host, None)}
    server = make_server(receiver.config(host=host, allow=["192.0.2.0/24"]))
    # Not only does the start say so: the delivery fails of it.
    within(15, lambda: "not delivered yet" in server.log(), server.log())
    assert all("`allow` does not name it" in line for line in server.log().splitlines() if "not delivered yet" in line)
    assert not receiver.got and inside
    file = tmp_path / "refused.toml"
    for url in ("https://127.0.0.1:1/", "https://[::1]:1/", "https://169.254.169.254/", "https://localhost:1/", "https://[::ffff:10.0.0.1]/"):
        file.write_text(f'[alerts]\nwebhook = "{url}"\nwebhook_secret_file = "{receiver.folder}/webhook.secret"\n')
        command = [PROGRAM, "doctor", "--config", file, "--data-dir", tmp_path / "d", "--root-key", tmp_path / "k", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and "lies inside" in done.stdout and "alerts.allow" in done.stdout, (url, done.stdout)
    receiver.stop()


def test_a_certificate_of_nobody_that_is_trusted_gets_nothing(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    other = Receiver(tmp_path / "other")
    server = make_server(receiver.config().replace(f"{receiver.folder}/ca.pem", f"{other.folder}/ca.pem"))
    within(15, lambda: "not delivered yet" in server.log())
    assert not receiver.got
    receiver.stop(), other.stop()


def test_doctor_and_the_start_refuse_alerts_that_are_dangerous_and_policies_with_a_mistake(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(b"x" * 32).decode())
    secret.chmod(0o400)

    def doctor(config, fails=True):
        file = tmp_path / "strongroom.toml"
        file.write_text(config)
        command = [PROGRAM, "doctor", "--config", file, "--data-dir", tmp_path / "d", "--root-key", tmp_path / "k", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    hook = f'[alerts]\nwebhook_secret_file = "{secret}"\nwebhook = '
    assert "begins with https://" in doctor(hook + '"http://1.1.1.1/"')
    assert "no user in it" in doctor(hook + '"https://u:p@1.1.1.1/"')
    assert "needs alerts.webhook_secret_file" in doctor('[alerts]\nwebhook = "https://1.1.1.1/"')
    misspelt = doctor(hook + '"https://1.1.1.1/"\nallowed = []')
    assert "TOML parse error at line 4" in misspelt and "unknown field `allowed`" in misspelt, misspelt
    assert "tcp://HOST:PORT" in doctor('[alerts]\nsyslog = "udp://host:514"')
    doctor(hook + '"https://1.1.1.1/"', fails=False)
    doctor(hook + '"https://127.0.0.1/"\nallow = ["127.0.0.0/8"]', fails=False)
    secret.chmod(0o444)
    assert "can be read by others" in doctor(hook + '"https://1.1.1.1/"')
    secret.chmod(0o600)
    secret.write_text("whsec_short")
    assert "24 to 64 bytes" in doctor(hook + '"https://1.1.1.1/"')
    for name, text in [("alerts.toml", "[network]"), ("budgets.toml", "[everybody]"), ("dual-control.toml", "wait_s = 0")]:
        folder = tmp_path / name
        config = rules(folder)
        (folder / name).write_text(text)
        assert f"policies/{name}" in doctor(config)


def use(person, source):
    """A request from an address of this machine."""
    server = person.server
    with socket.create_connection(("127.0.0.1", server.port), source_address=(source, 0)) as plain:
        with server.tls().wrap_socket(plain, server_hostname="localhost") as connection:
            head = f"GET /api/whoami-v2 HTTP/1.1\r\nHost: localhost:{server.port}\r\nConnection: close\r\n"
            connection.sendall(f"{head}Authorization: Bearer {person.token}\r\n\r\n".encode())
            return int(connection.recv(4096).split()[1])


def test_a_token_that_is_used_from_another_network_raises_an_alert_once(make_server, tmp_path):
    server = make_server('[server]\nhosts = ["127.0.0.1"]\n' + rules(tmp_path / "policies"))
    watch, reader = server.person("watch", ("security", None)), server.person("reader", ("reader", "admin"))
    for source in ("127.0.0.1", "127.0.0.9"):
        assert use(reader, source) == 200
    assert alerts(watch, "--kind", "network") == [], "its first network is where it is from, and each address in it"
    for _ in range(3):
        assert use(reader, "127.7.7.1") == 200
    [alert] = alerts(watch, "--kind", "network")
    assert alert["principal"] == "reader" and alert["address"] == "127.7.7.1" and "127.7.7.0/24" in alert["why"]
    assert alert["token"] == reader.token_id
    server.stop()
    server.start()
    assert use(reader, "127.7.7.2") == use(reader, "127.0.0.1") == 200
    assert len(alerts(watch, "--kind", "network")) == 1, "known, after a restart too"
    # Where from is stored sealed.
    server.stop()
    assert not any(b"127.7.7" in file.read_bytes() for file in server.data.rglob("*") if file.is_file())


def test_a_network_is_known_once_it_was_told_and_not_before(make_server, tmp_path):
    server = make_server(rules(tmp_path / "policies", network__every_s=2))
    watch, reader = server.person("watch", ("security", None)), server.person("reader", ("reader", "admin"))
    assert use(reader, "127.0.0.1") == 200
    # The second may come while the turn of the first one's alert runs: then it is told in a later one.
    for _ in range(3):
        for source in ("127.7.7.1", "127.8.8.1"):
            assert use(reader, source) == 200
        time.sleep(2.1)
    server.stop()
    server.start()
    assert use(reader, "127.7.7.9") == use(reader, "127.8.8.9") == 200
    assert sorted(alert["address"] for alert in alerts(watch, "--kind", "network")) == ["127.7.7.1", "127.8.8.1"]


def test_denials_in_bulk_raise_one_alert_for_each_who_is_denied(make_server, tmp_path):
    server = make_server(rules(tmp_path / "policies", denials__count=20))
    watch, guess = server.person("watch", ("security", None)), server.person("guess")
    few = server.person("few")
    for number in range(60):
        assert guess.http("GET", f"/api/models/admin/guess-{number}").status == 404
    for number in range(15):
        few.http("GET", f"/api/models/admin/guess-{number}")
    [alert] = alerts(watch, "--kind", "denials")
    assert alert["principal"] == "guess" and alert["why"].startswith("20 refusals of principal")
    wrong = Person(server, "srt_wrong", tmp_path / "home")
    for _ in range(30):
        assert wrong.http("GET", "/api/whoami-v2").status == 401
    newest, _ = alerts(watch, "--kind", "denials")
    assert newest["principal"] is None and "127.0.0.0/24" in newest["why"]


def test_lines_of_budgets_and_of_coverage_raise_alerts(make_server, tmp_path):
    budgets = (
        '[principal]\nbytes_per_hour = { soft = "100KiB", hard = "300KiB" }\n'
        'coverage = [{ compartment = "logs", within = "day", soft = 10, hard = 90 }]\n'
    )
    server = make_server(rules(tmp_path / "policies", budgets))
    owner, watch = server.owner, server.person("watch", ("security", None))
    owner.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"})
    commit(owner, "admin/x", {"a.md": b"x" * 150_000, "logs/a.txt": b"x" * 10_000})
    reader = server.person("reader", ("writer", "admin"))
    statuses = [reader.http("GET", f"/admin/x/resolve/main/{path}").status for path in ("logs/a.txt", "a.md", "a.md", "a.md", "a.md")]
    assert statuses[0] in (200, 429) and statuses[-1] == 429, statuses
    found = [(alert["alert"], alert["why"]) for alert in alerts(watch) if alert["alert"] in ("budget", "coverage")]
    assert sorted(kind for kind, _ in found) == ["budget", "budget", "coverage"], found
    assert any("soft line" in why for _, why in found) and any("budget is spent" in why for _, why in found)


def test_each_change_of_who_may_do_what_raises_an_alert_and_other_changes_do_not(make_server):
    server = make_server()
    owner, watch = server.owner, server.person("watch", ("security", None))
    before = len(alerts(watch, "--kind", "policy"))
    owner.strongroom("user", "create", "one")
    owner.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"})
    commit(owner, "admin/x", {"a.md": b"a"})
    assert len(alerts(watch, "--kind", "policy")) == before
    owner.strongroom("role", "grant", "one", "reader", "--namespace", "admin")
    owner.strongroom("role", "revoke", "one", "reader", "--namespace", "admin")
    owner.strongroom("role", "deny", "one", "repo.read", "--compartment", "docs", "--namespace", "admin")
    owner.strongroom("partner", "create", "firm-of-one", "--sponsor", "admin")
    whys = [alert["why"] for alert in alerts(watch, "--kind", "policy")][: -before or None]
    assert len(whys) == 4 and all("one" in why for why in whys), whys
    assert all(alert["principal"] == "admin" for alert in alerts(watch, "--kind", "policy")[:4])


def test_a_share_of_weights_that_is_made_and_any_that_is_prolonged_or_ended_raises_an_alert(make_server, tmp_path):
    server = make_server(rules(tmp_path / "policies"))
    owner, watch = server.owner, server.person("watch", ("security", None))
    owner.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"})
    commit(owner, "admin/x", {"a.md": b"a", "w.safetensors": b"w"})
    server.person("partner")
    server.second()
    owner.strongroom("role", "grant", "steward", "maintainer", "--namespace", "admin")
    seen = {alert["id"] for alert in alerts(watch, "--kind", "policy")}

    def raised():
        """What was raised since it was last asked."""
        new = [alert for alert in alerts(watch, "--kind", "policy") if alert["id"] not in seen]
        seen.update(alert["id"] for alert in new)
        return [(alert["why"].split("(")[1].split(")")[0], alert["principal"], alert["repo"]) for alert in new]

    share = ["share", "create", "admin/x@main", "--to", "partner", "--expires", "1h", "--compartments"]
    light = owner.strongroom(*share, "docs")
    assert raised() == [], "what anybody may read raises none"
    heavy = server.agreed(*share, "docs,weights")
    assert raised() == [("a share was made", "steward", "admin/x")], "whoever agreed made it"
    for made in (light, heavy):
        number = str(made["id"])
        server.agreed("share", "extend", number, "--expires", "2h")
        [(why, who, repo)] = raised()
        assert (why, repo) == ("a share was prolonged", "admin/x") and who in ("admin", "steward")
        owner.strongroom("share", "revoke", number)
        assert raised() == [("a share was ended", "admin", "admin/x")]


@pytest.mark.skipif(STORES.postgres is not None, reason="the database is locked as a file")
def test_a_log_that_could_not_be_written_raises_an_alert_when_it_can_be_again(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    server = make_server(receiver.config())
    watch = server.person("watch", ("security", None))
    lock = sqlite3.connect(server.data / "keeper" / "keeper.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    assert server.owner.http("GET", "/api/whoami-v2").status == 503
    # While nothing can be written, or read.
    told = within(30, lambda: [alert for alert in receiver.verified() if alert["alert"] == "audit"], server.log())
    assert "the log can't be written" in told[0]["why"] and "unwritten" in told[0]["id"]
    lock.execute("ROLLBACK")
    within(20, lambda: server.owner.http("GET", "/api/whoami-v2").status == 200)
    [alert, *_] = within(10, lambda: alerts(watch, "--kind", "audit"))
    assert "answers were withheld" in alert["why"]
    receiver.stop()


def test_who_reads_alerts_is_an_auditor_or_an_analyst_and_nobody_else(make_server):
    server = make_server()
    watch, auditor = server.person("watch", ("security", None)), server.person("audits", ("auditor", None))
    admin, writer = server.person("boss", ("admin", None)), server.person("writer", ("owner", "admin"))
    assert alerts(watch) and alerts(auditor)
    for person in (admin, writer):
        assert "alert.read" in person.strongroom("alert", "list", fails=True).stderr
    assert server.stranger().http("POST", "/api/strongroom/v1/alert", {"Alert": {"List": {}}}).status in (400, 401)
    everything = alerts(watch)
    assert alerts(watch, "--limit", "2") == everything[:2] and alerts(watch, "--since", "0s") == []
    kinds = alerts(watch, "--kind", "policy")
    assert kinds == [alert for alert in everything if alert["alert"] == "policy"] and len(kinds) < len(everything)


def test_hostile_words_come_out_as_data(make_server, tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    syslog = socket.create_server(("127.0.0.1", 0))
    lines, config = [], receiver.config() + f'syslog = "tcp://127.0.0.1:{syslog.getsockname()[1]}"\n'

    def collect():
        while True:
            connection, _ = syslog.accept()
            with connection, connection.makefile("rb") as stream:
                lines.append(stream.read())

    threading.Thread(target=collect, daemon=True).start()
    server = make_server(config + rules(tmp_path / "policies"))
    watch, thief = server.person("watch", ("security", None)), server.person("thief", ("owner", "admin"))
    server.owner.http("POST", "/api/repos/create", {"name": "x", "organization": "admin"})
    hostile = 'a"}]\'; DROP \U0001f512 {"alert":"none"} <0>1 - [x] $(id) %0a\\n'.replace("\\", "")
    watch.strongroom("decoy", "plant", "--repo", "admin/x", "--path", hostile)
    quoted = "".join(f"%{byte:02x}" for byte in hostile.encode())
    assert thief.http("GET", f"/admin/x/resolve/main/{quoted}").status == 404
    within(10, lambda: any(alert["path"] == hostile for alert in receiver.verified()), server.log())
    line = within(10, lambda: [line for line in lines if b"alert.decoy" in line], server.log())[0].decode()
    length, rest = line.split(" ", 1)
    assert int(length) == len(rest.encode()) and rest.startswith("<105>1 ") and "\n" not in rest
    assert json.loads(rest[rest.index("] {") + 2 :])["path"] == hostile
    assert [alert["path"] for alert in alerts(watch, "--kind", "decoy")] == [hostile]
    text = watch.run([PROGRAM, "alert", "list"]).stdout
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    receiver.stop()


@pytest.mark.skipif(STORES.postgres is not None, reason="the database is edited as a file")
def test_an_alert_whose_row_was_deleted_is_missed_by_check(make_server):
    server = make_server()
    server.person("watch", ("security", None))
    server.stop()
    with sqlite3.connect(server.data / "keeper" / "keeper.db") as database:
        database.execute("DELETE FROM alert WHERE seq = (SELECT MAX(seq) FROM alert)")
    done = subprocess.run([PROGRAM, "check", *map(str, server.arguments), "--json"], capture_output=True, text=True)
    assert done.returncode == 1 and "differ in 1 alerts" in done.stdout, done.stdout + done.stderr
    server.start()


def test_a_collector_of_this_machine_gets_lines_also_after_it_was_started_anew(make_server, tmp_path):
    path = tmp_path / "log.sock"

    def collector():
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.bind(str(path))
        listening.settimeout(30)
        return listening

    first = collector()
    server = make_server(f'[alerts]\nsyslog = "unix://{path}"\n')
    line = first.recv(8192).decode()
    assert line.startswith("<105>1 ") and " strongroom - alert." in line and json.loads(line[line.index("] {") + 2 :])["id"]
    first.close()
    server.person("watch", ("security", None))
    second = collector()
    within(30, lambda: b"security" in second.recv(8192), server.log())
    second.close()


needs_fleet = pytest.mark.skipif(
    not (programs() and HAPROXY and WEED), reason="PostgreSQL, HAProxy or SeaweedFS is not installed"
)


@needs_fleet
def test_an_alert_is_raised_and_delivered_once_whichever_replicas_saw_it(tmp_path):
    receiver = Receiver(tmp_path / "receiver")
    fleet = Fleet(tmp_path / "fleet", 2, receiver.config() + rules(tmp_path / "policies", denials__count=10))
    try:
        watch, guess = fleet.person("watch", ("security", None)), fleet.person("guess")
        for number in range(60):
            assert guess.http("GET", f"/api/models/admin/guess-{number}").status == 404
        assert len(alerts(watch, "--kind", "denials")) == 1, "both counted, one raised it"
        records = watch.strongroom("audit", "search", "--action", "alert.raised", "--limit", "500")["records"]
        assert len([record for record in records if record["alert"] == "denials"]) == 1, "and one recorded it"
        # Whoever is refused by each a little is refused too much by both: below the line on the one and on the other.
        both = lambda person: [fleet.at(person, server) for server in fleet.servers]
        little, fewer = both(fleet.person("little")), both(fleet.person("fewer"))
        for number in range(7):
            assert [one.http("GET", f"/api/models/admin/little-{number}").status for one in little] == [404, 404]
        [alert] = [alert for alert in alerts(watch, "--kind", "denials") if alert["principal"] == "little"]
        assert "on all servers together" in alert["why"]
        # Fewer are none to tell of.
        for number in range(4):
            assert [one.http("GET", f"/api/models/admin/fewer-{number}").status for one in fewer] == [404, 404]
        assert not [alert for alert in alerts(watch, "--kind", "denials") if alert["principal"] == "fewer"]
        wanted = alerts(watch)
        within(20, lambda: {alert["id"] for alert in receiver.verified()} >= {alert["id"] for alert in wanted}, fleet.log())
        ids = [alert["id"] for alert in receiver.verified()]
        assert len(ids) == len(set(ids)), "delivered by one of them"
    finally:
        fleet.remove()
        receiver.stop()
