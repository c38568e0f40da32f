"""Witnesses: what is cosigned and what never is, and a server whose weights are read only while its log is witnessed; told with an
operator who rolls a server back, a forger who has a log's key, and a witness that is down."""

import base64
import hashlib
import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from conftest import PROGRAM, STORES, Person, Server, commit, free_port
from fleet import Fleet
from postgres import programs
from test_alerts import within
from weed import HAPROXY
from weed import PROGRAM as WEED

SIZE = "text/x.tlog.size"


def openssl(folder, *words, stdin=None):
    return subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, input=stdin).stdout


class Witness:
    """`strongroom audit witness`, with a certificate of a CA of its own."""

    def __init__(self, folder, name="witness.example/w1"):
        self.folder, self.port, self.name, self.logs = Path(folder), free_port(), name, []
        self.folder.mkdir(parents=True)
        make = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl(folder, "req", "-x509", *make, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=witness CA",
                "-addext", "basicConstraints=critical,CA:TRUE")
        openssl(folder, "req", *make, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=witness")
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
        openssl(folder, "x509", "-req", "-in", "tls.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names",
                "-out", "tls.pem")
        self.key = self.run("--name", name, "--print-key").stdout.strip()
        self.process = None

    def arguments(self):
        return [PROGRAM, "audit", "witness", "--key", str(self.folder / "witness.key"), "--state", str(self.folder / "state")]

    def run(self, *more):
        return subprocess.run([*self.arguments(), *more], capture_output=True, text=True)

    def config(self):
        return (
            f'[[witness]]\nurl = "https://127.0.0.1:{self.port}"\nkey = "{self.key}"\nca_file = "{self.folder}/ca.pem"\n'
            'allow = ["127.0.0.0/8"]\n'
        )

    def start(self, *logs):
        self.logs = list(logs) or self.logs
        named = [word for log in self.logs for word in ("--log", log)]
        place = ["--listen", f"127.0.0.1:{self.port}", "--cert", f"{self.folder}/tls.pem", "--tls-key", f"{self.folder}/tls.key"]
        self.output = open(self.folder / "witness.log", "ab")
        self.process = subprocess.Popen([*self.arguments(), *named, *place], stdout=self.output, stderr=self.output)

        def answers():
            assert self.process.poll() is None, self.log()
            try:
                return self.ask(b"", path="/nothing")[0] == 404
            except OSError:
                return False

        within(10, answers, "the witness does not listen")
        return self

    def stop(self, how=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def log(self):
        return (self.folder / "witness.log").read_text()

    def ask(self, body, path="/add-checkpoint", method="POST"):
        tls = ssl.create_default_context(cafile=self.folder / "ca.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=20)
        connection.request(method, path, body.encode() if isinstance(body, str) else body)
        answer = connection.getresponse()
        found = answer.status, answer.getheader("Content-Type"), answer.read().decode()
        connection.close()
        return found

    def holds(self, text, lines):
        """When this witness cosigned a checkpoint's text: verified by OpenSSL, and by nothing of ours."""
        name, _, key = self.key.split("+", 2)
        key = base64.b64decode(key)
        assert key[0] == 4
        mine = hashlib.sha256(f"{name}\n".encode() + key).digest()[:4]
        for line in lines.splitlines():
            dash, who, signature = line.split(" ")
            signature = base64.b64decode(signature)
            if dash == "\u2014" and who == name and signature[:4] == mine:
                at = int.from_bytes(signature[4:12], "big")
                public = self.folder / "public.der"
                public.write_bytes(bytes.fromhex("302a300506032b6570032100") + key[1:])
                (self.folder / "message").write_text(f"cosignature/v1\ntime {at}\n{text}")
                (self.folder / "signature").write_bytes(signature[12:])
                openssl(self.folder, "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "public.der", "-rawin",
                        "-in", "message", "-sigfile", "signature")
                return at
        raise AssertionError(f"{name} is not in {lines}")


class Log:
    """A log as RFC 6962 has it, whose owner signs what they like."""

    def __init__(self, folder, name):
        self.folder, self.name = Path(folder), name
        self.folder.mkdir(parents=True)
        openssl(folder, "genpkey", "-algorithm", "ed25519", "-out", "log.pem")
        public = b"\x01" + openssl(folder, "pkey", "-in", "log.pem", "-pubout", "-outform", "DER")[-32:]
        self.id = hashlib.sha256(f"{name}\n".encode() + public).digest()[:4]
        self.key = f"{name}+{self.id.hex()}+{base64.b64encode(public).decode()}"

    def hash(self, leaves):
        if len(leaves) < 2:
            return hashlib.sha256(b"\0" + leaves[0]).digest() if leaves else hashlib.sha256().digest()
        half = 1 << (len(leaves) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + self.hash(leaves[:half]) + self.hash(leaves[half:])).digest()

    def proof(self, old, leaves, whole=True):
        if old == len(leaves):
            return [] if whole else [self.hash(leaves)]
        half = 1 << (len(leaves) - 1).bit_length() - 1
        if old <= half:
            return [*self.proof(old, leaves[:half], whole), self.hash(leaves[half:])]
        return [*self.proof(old - half, leaves[half:], False), self.hash(leaves[:half])]

    def text(self, leaves):
        return f"{self.name}\n{len(leaves)}\n{base64.b64encode(self.hash(leaves)).decode()}\n"

    def note(self, leaves):
        (self.folder / "text").write_text(self.text(leaves))
        signature = openssl(self.folder, "pkeyutl", "-sign", "-inkey", "log.pem", "-rawin", "-in", "text")
        return f"{self.text(leaves)}\n\u2014 {self.name} {base64.b64encode(self.id + signature).decode()}\n"

    def asked(self, old, leaves, proof=None):
        proof = self.proof(old, leaves) if proof is None and old else proof or []
        return f"old {old}\n" + "".join(base64.b64encode(hash).decode() + "\n" for hash in proof) + "\n" + self.note(leaves)


LEAVES = [str(at).encode() for at in range(40)]
FORK = LEAVES[:12] + [b"other"] + LEAVES[13:]


@pytest.fixture
def witness(tmp_path):
    made = Witness(tmp_path / "witness")
    yield made
    made.stop()


def test_a_forger_with_the_logs_own_key_gets_no_cosignature_for_a_second_history(tmp_path, witness):
    log, other = Log(tmp_path / "log", "log.example"), Log(tmp_path / "other", "log.example")
    witness.start(log.key)
    status, _, lines = witness.ask(log.asked(0, LEAVES[:10]))
    assert status == 200 and abs(witness.holds(log.text(LEAVES[:10]), lines) - time.time()) < 30
    assert witness.ask(log.asked(10, LEAVES[:20]))[0] == 200
    for what, asked, answer in [
        ("two trees of one size", log.asked(20, FORK[:20]), (409, SIZE, "20\n")),
        ("a branch", log.asked(20, FORK[:30]), (422, None, None)),
        ("a smaller tree", log.asked(10, LEAVES[:15]), (409, SIZE, "20\n")),
        ("from the beginning", log.asked(0, FORK[:30]), (409, SIZE, "20\n")),
        ("a larger size than the checkpoint's", log.asked(25, LEAVES[:20], []), (400, None, None)),
        ("no proof", log.asked(20, LEAVES[:30], []), (422, None, None)),
        ("half a proof", log.asked(20, LEAVES[:30], log.proof(20, LEAVES[:30])[1:]), (422, None, None)),
        ("a proof of another size", log.asked(20, LEAVES[:30], log.proof(10, LEAVES[:30])), (422, None, None)),
        ("another's key under the log's name", other.asked(20, LEAVES[:30]), (403, None, None)),
        ("another log", log.asked(20, LEAVES[:30]).replace("log.example\n30", "elsewhere.example\n30"), (404, None, None)),
        ("a text that was changed", log.asked(20, LEAVES[:30]).replace("\n30\n", "\n31\n"), (403, None, None)),
        ("a size in another spelling", log.asked(20, LEAVES[:30]).replace("old 20", "old 020"), (400, None, None)),
        ("no note", "old 20\n\n", (400, None, None)),
        ("nothing", "", (400, None, None)),
        ("what is no text", b"\xff\xfe", (400, None, None)),
        ("64 hashes", log.asked(20, LEAVES[:30], [b"\0" * 32] * 64), (400, None, None)),
    ]:
        status, kind, body = witness.ask(asked)
        expected, kind_expected, body_expected = answer
        assert status == expected, f"{what}: {status} {body}"
        assert "\u2014" not in body, f"{what} was signed"
        assert kind_expected in (None, kind) and body_expected in (None, body), what
    assert witness.ask("", method="GET")[0] == 405
    # More than a request may have is not read to its end: the answer comes, or the connection is over.
    try:
        assert witness.ask("old 20\n" + "A" * 2_000_000)[0] == 413
    except OSError:
        pass
    # None of it moved what the witness has; the same tree again has a newer time.
    assert witness.ask(log.asked(20, LEAVES[:20]))[0] == 200
    assert witness.ask(log.asked(20, LEAVES[:40]))[0] == 200


def test_a_witness_that_is_killed_at_any_moment_remembers_what_it_cosigned(tmp_path, witness):
    log = Log(tmp_path / "log", "log.example")
    witness.start(log.key)
    for size in range(1, 12):
        assert witness.ask(log.asked(size - 1, LEAVES[:size]))[0] == 200
        witness.stop(signal.SIGKILL)
        witness.start()
        # Another tree of that size, which a witness that forgot would take.
        fork = [b"fork", *LEAVES[1:size]]
        assert witness.ask(log.asked(0, fork)) == (409, SIZE, f"{size}\n")
        assert witness.ask(log.asked(size, fork, []))[0] == 409
    # Whoever empties its memory has no witness any more, and two processes have none of it.
    second = witness.run("--listen", "127.0.0.1:0", "--log", log.key, "--cert", f"{tmp_path}/witness/tls.pem", "--tls-key", "x")
    assert second.returncode == 1 and "another process" in second.stderr
    assert witness.run("--forget", log.key).returncode == 1, "while it runs"
    witness.stop()
    assert witness.run("--name", "another", "--print-key").returncode == 1, "its name is its key's"
    assert witness.run("--forget", log.key).returncode == 0
    witness.start()
    assert witness.ask(log.asked(0, FORK[:20]))[0] == 200
    witness.stop()
    shutil.rmtree(tmp_path / "witness" / "state")
    emptied = witness.run("--listen", "127.0.0.1:0", "--log", log.key, "--cert", f"{tmp_path}/witness/tls.pem", "--tls-key", "x")
    assert emptied.returncode == 1 and "forgot" in emptied.stderr


def test_a_witness_that_listens_has_its_memory_and_nothing_else(tmp_path, witness):
    log = Log(tmp_path / "log", "log.example")
    witness.start(log.key)
    status = Path(f"/proc/{witness.process.pid}/status").read_text()
    assert re.search(r"Seccomp:\s+2", status) and re.search(r"NoNewPrivs:\s+1", status), status
    assert "sandbox is not complete" not in witness.log()
    assert witness.ask(log.asked(0, LEAVES[:5]))[0] == 200


def policies(folder, line):
    """The shipped policies with one line in witness.toml; nothing needs a second person."""
    shutil.copytree(Path(__file__).parents[2] / "policies", folder)
    dual = folder / "dual-control.toml"
    dual.write_text(re.sub(r"(?m)^recover = .*", "recover = false", re.sub(r"(?m)^share = .*", "share = []", dual.read_text())))
    with open(folder / "witness.toml", "a") as file:
        file.write(line + "\n")
    return f'[policies]\nfolder = "{folder}"\n'


def config(folder, witnesses, line='weights = { witnesses = 1, within = "4s" }'):
    return "".join([policies(folder, line), '[audit]\nwitness_every = "1s"\n', *(witness.config() for witness in witnesses)])


def log_keys(person):
    return [log["key"] for log in person.strongroom("audit", "checkpoint")["logs"]]


def read(person, path="model.safetensors"):
    return person.http("GET", f"/admin/m/resolve/main/{path}")


def open_again(person):
    return within(15, lambda: read(person).status == 200, read(person).body)


@pytest.fixture
def guarded(tmp_path, witness):
    """A server whose weights are read only while the witness cosigns, with a model in it."""
    (tmp_path / "server").mkdir()
    made = Server(tmp_path / "server", config(tmp_path / "policies", [witness]))
    assert made.owner.http("POST", "/api/repos/create", {"name": "m", "organization": "admin"}).status == 200
    commit(made.owner, "admin/m", {"model.safetensors": b"weights", "README.md": b"docs"})
    yield made
    made.stop()


def test_weights_are_read_only_while_the_log_is_witnessed_and_docs_go_on(guarded, witness):
    owner = guarded.owner
    # Nobody has cosigned yet: the witness does not even know the log.
    refused = read(owner)
    assert refused.status == 503 and refused.headers["X-Error-Code"] == "WitnessStale" and int(refused.headers["Retry-After"]) > 0
    assert refused.json()["reason"] == "witness_stale" and "weights" in refused.json()["error"]
    assert read(owner, "README.md").body == b"docs"
    # What is moved into another compartment is read there.
    oid = hashlib.sha256(b"weights").hexdigest()
    body = [{"key": "header", "value": {"summary": "move"}},
            {"key": "lfsFile", "value": {"path": "weights.csv", "algo": "sha256", "oid": oid, "size": 7}}]
    move = lambda: owner.http("POST", "/api/models/admin/m/commit/main", "\n".join(map(json.dumps, body)).encode(),
                              {"Content-Type": "application/x-ndjson"})
    assert move().status == 503 and read(owner, "weights.csv").status == 404
    witness.start(*log_keys(owner))
    open_again(owner)
    assert move().status == 200 and read(owner, "weights.csv").body == b"weights"
    found = owner.strongroom("audit", "search", "--action", "object.open", "--outcome", "denied")["records"]
    assert found and "weights is closed" in found[-1]["reason"] and found[-1]["path"] == "model.safetensors"

    witness.stop()
    begun = time.monotonic()
    within(10, lambda: read(owner).status == 503, "still read")
    assert time.monotonic() - begun < 8
    assert read(owner, "README.md").status == 200
    standing = owner.strongroom("audit", "checkpoint")["witnesses"][0]
    assert standing["witness"] == witness.key and standing["age_s"] >= 4 and standing["conflict"] is None
    witness.start()
    open_again(owner)


def test_a_witness_with_another_key_than_was_configured_opens_nothing(guarded, witness, tmp_path):
    owner = guarded.owner
    # Whoever sits where the witness is expected has a certificate that holds, and another key.
    liar = Witness(tmp_path / "liar", witness.name)
    for file in ("tls.pem", "tls.key", "ca.pem"):
        shutil.copy(tmp_path / "witness" / file, tmp_path / "liar" / file)
    liar.port = witness.port
    try:
        liar.start(*log_keys(owner))
        within(10, lambda: "its cosignature does not hold" in guarded.log(), guarded.log())
        assert read(owner).headers["X-Error-Code"] == "WitnessStale"
        assert "cosigned" not in owner.strongroom("audit", "checkpoint")["logs"][0]
    finally:
        liar.stop()
    witness.start(*log_keys(owner))
    open_again(owner)


def test_neither_a_sealed_delivery_nor_break_glass_goes_round_the_witness(guarded, witness, tmp_path):
    owner = guarded.owner
    subprocess.run(["age-keygen", "-o", tmp_path / "partner.key"], check=True, capture_output=True)
    recipient = subprocess.run(["age-keygen", "-y", tmp_path / "partner.key"], check=True, capture_output=True, text=True).stdout.strip()
    owner.strongroom("user", "create", "vault")
    owner.strongroom("user", "recipient", "vault", recipient)
    made = owner.strongroom("share", "create", "admin/m@main", "--to", "vault", "--compartments", "docs,weights", "--expires", "1h", "--sealed")
    vault = Person(guarded, made["token"], tmp_path / "vault")
    fetch = lambda path: vault.http("GET", f"/api/strongroom/v1/sealed/model/admin/m/main/{path}")
    assert fetch("model.safetensors").headers["X-Error-Code"] == "WitnessStale" and fetch("README.md").status == 200
    owner.strongroom("role", "allow", "admin", "key.recover", "--compartment", "weights", "--namespace", "admin")
    recover = ("key", "recover", "--repo", "admin/m", "--path", "model.safetensors", "--out", str(tmp_path / "out"),
               "--identity-out", str(tmp_path / "identity"))
    assert "weights is closed" in owner.strongroom(*recover, fails=True).stderr
    witness.start(*log_keys(owner))
    open_again(owner)
    assert fetch("model.safetensors").status == 200
    owner.strongroom(*recover)


def test_the_cosigned_checkpoint_is_verified_by_whoever_has_the_two_keys(guarded, witness, tmp_path):
    owner = guarded.owner
    asked = ("audit", "checkpoint", "--witness", witness.key)
    assert "no witness cosigned" in owner.strongroom(*asked, fails=True).stderr
    witness.start(*log_keys(owner))
    open_again(owner)
    shown = owner.strongroom(*asked)
    note = shown["logs"][0]["checkpoint"]
    text, lines = note.rsplit("\n\n", 1)
    assert abs(witness.holds(text + "\n", lines) - time.time()) < 30
    assert shown["logs"][0]["cosigned"][0]["witness"] == witness.name
    # A monitor gets the same note where C2SP lays it.
    assert "\u2014 " + witness.name in owner.http("GET", "/api/strongroom/audit/1/checkpoint").body.decode()
    verified = owner.strongroom("audit", "verify", "--witness", witness.key)
    assert verified["verified"] and verified["logs"][0]["cosigned"]["size"] > 0
    stranger = Witness(tmp_path / "stranger", "stranger.example/w").key
    assert "did NOT cosign" in owner.strongroom("audit", "verify", "--witness", stranger, fails=True).stderr
    assert "did NOT cosign" in owner.strongroom(*asked, "--witness", stranger, fails=True).stderr
    kept = tmp_path / "kept.txt"
    kept.write_text(note)
    assert owner.strongroom("audit", "verify", "--from", str(kept), "--key", shown["key"])["verified"]
    if not STORES.postgres:
        guarded.stop()
        copy = str(guarded.data / "keeper" / "keeper.db")
        offline = ("audit", "verify", "--database", copy, "--key", shown["key"], "--witness", witness.key)
        assert owner.strongroom(*offline)["logs"][0]["cosigned"]["by"][0]["witness"] == witness.name


@pytest.mark.skipif(bool(STORES.postgres), reason="the data directory holds no database")
def test_evidence_carries_what_witnesses_cosigned_and_whoever_verifies_it_asks_for_theirs(guarded, witness, tmp_path):
    owner = guarded.owner

    def evidence(name):
        made = owner.strongroom("incident", "open", "--principal", "admin", "--since", "1d", "--out", tmp_path / name)
        return [PROGRAM, "incident", "verify", tmp_path / name, "--key", made["key"]]

    verify = lambda command, *more: subprocess.run([*command, *more], capture_output=True, text=True)
    alone = evidence("alone.jsonl")
    assert verify(alone).returncode == 0
    refused = verify(alone, "--witness", witness.key)
    assert refused.returncode == 1 and "no witness cosigned" in refused.stderr
    witness.start(*log_keys(owner))
    open_again(owner)
    cosigned = evidence("cosigned.jsonl")
    assert verify(cosigned).returncode == 0
    found = json.loads(verify(cosigned, "--witness", witness.key, "--json").stdout)
    assert found["verified"]
    [log] = found["cosigned"]
    assert log["by"][0]["witness"] == witness.name and 0 < log["size"] <= log["records"]
    assert f"the first {log['size']} of {log['records']} records" in verify(cosigned, "--witness", witness.key).stdout
    stranger = Witness(tmp_path / "stranger", "stranger.example/w").key
    assert "did NOT cosign" in verify(cosigned, "--witness", stranger).stderr
    # The note that was cosigned, by the witness and outside the bundle: verified by OpenSSL.
    header = json.loads((tmp_path / "cosigned.jsonl").read_text().splitlines()[0])
    text, lines = header["witnessed"][0]["note"].rsplit("\n\n", 1)
    assert abs(witness.holds(text + "\n", lines) - time.time()) < 60


def test_yesterdays_copy_of_the_data_directory_does_not_start(guarded, witness, tmp_path):
    owner = guarded.owner
    keys = log_keys(owner)
    witness.start(*keys)
    open_again(owner)
    guarded.stop()
    shutil.copytree(guarded.data, tmp_path / "yesterday")
    guarded.start()
    for at in range(5):
        commit(owner, "admin/m", {f"more-{at}.md": b"x"})
    newest = owner.strongroom("audit", "checkpoint")["size"]
    within(10, lambda: owner.strongroom("audit", "checkpoint")["logs"][0]["cosigned"]["size"] >= newest, "not cosigned")
    guarded.stop()
    today = tmp_path / "today"
    shutil.move(guarded.data, today)
    shutil.copytree(tmp_path / "yesterday", guarded.data)

    # The witness has seen more than there is: nobody is served.
    with pytest.raises(AssertionError, match="rolled back"):
        guarded.start()
    assert guarded.process.wait(20) == 1
    assert "mend" in guarded.log() and "--forget" in guarded.log()
    # Without the witness nobody knows; weights stay closed, and as soon as it is back it is known why.
    witness.stop()
    guarded.start()
    assert read(owner).headers["X-Error-Code"] == "WitnessStale" and read(owner, "README.md").status == 200
    witness.start()
    within(10, lambda: read(owner).headers["X-Error-Code"] == "WitnessConflict", "no conflict")
    assert read(owner).status == 503 and read(owner).json()["reason"] == "witness_conflict"
    assert read(owner, "README.md").status == 200
    alerts = owner.strongroom("alert", "list", "--kind", "audit")["alerts"]
    # By now it may have grown beyond what the witness has: then its beginning is another one.
    lies = lambda text: witness.name in text and ("rolled back" in text or "cosigned other" in text)
    assert lies(alerts[0]["why"])
    assert lies(owner.strongroom("audit", "checkpoint")["witnesses"][0]["conflict"])
    guarded.stop()

    # The mend where it was an accident: the newest copy. It goes on where it was.
    shutil.rmtree(guarded.data)
    shutil.copytree(today, guarded.data)
    guarded.start()
    open_again(owner)
    guarded.stop()

    # And where the old one was restored on purpose: the witness's operator forgets, knowing why.
    shutil.rmtree(guarded.data)
    shutil.copytree(tmp_path / "yesterday", guarded.data)
    witness.stop(signal.SIGTERM)
    assert witness.run("--forget", keys[0]).returncode == 0
    witness.start()
    guarded.start()
    open_again(owner)


def test_a_download_of_weights_ends_when_the_witness_is_gone(guarded, witness):
    owner = guarded.owner
    witness.start(*log_keys(owner))
    open_again(owner)
    commit(owner, "admin/m", {"big.bin": b"\0" * 1000})
    folder = guarded.folder / "big"
    folder.mkdir()
    (folder / "big.safetensors").write_bytes(b"\1" * 200_000_000)
    owner.hf("upload", "admin/m", folder)
    connection = http.client.HTTPSConnection("localhost", guarded.port, context=guarded.tls(), timeout=60)
    connection.request("GET", "/admin/m/resolve/main/big.safetensors", headers={"Authorization": f"Bearer {owner.token}"})
    answer = connection.getresponse()
    assert answer.status == 200 and len(answer.read(1_000_000)) == 1_000_000
    witness.stop()
    time.sleep(7)
    with pytest.raises((http.client.IncompleteRead, OSError)):
        answer.read()


def test_a_server_whose_compartment_nobody_could_ever_open_does_not_start(tmp_path, witness):
    text = config(tmp_path / "policies", [witness], 'weights = { witnesses = 2, within = "4s" }')
    file = tmp_path / "strongroom.toml"
    file.write_text(f'data_dir = "{tmp_path}/data"\n[root_key]\nfile = "{tmp_path}/root.key"\n{text}')
    done = subprocess.run([PROGRAM, "doctor", "--config", file], capture_output=True, text=True)
    assert done.returncode == 1 and "weights needs 2 witnesses, and 1 are configured" in done.stdout + done.stderr
    for wrong, said in [("https://", "no user in it"), (witness.key, "verifier key")]:
        broken = {"https://": text.replace("https://", "http://"), witness.key: text.replace(witness.key, "w+00+AA==")}[wrong]
        file.write_text(broken)
        done = subprocess.run([PROGRAM, "doctor", "--config", file], capture_output=True, text=True)
        assert done.returncode == 1 and said in done.stderr, done.stderr


@pytest.mark.skipif(not (programs() and WEED.exists() and HAPROXY), reason="--without postgres, s3 or haproxy")
def test_each_replicas_own_log_is_witnessed(tmp_path, witness):
    more = config(tmp_path / "policies", [witness])
    fleet = Fleet(tmp_path / "fleet", more=more)
    try:
        assert fleet.owner.http("POST", "/api/repos/create", {"name": "m", "organization": "admin"}).status == 200
        commit(fleet.owner, "admin/m", {"model.safetensors": b"weights"})
        there = [fleet.at(fleet.owner, server) for server in fleet.servers]
        keys = log_keys(fleet.owner)
        assert len(keys) == 2
        # The witness knows one of the two logs: one replica reads.
        witness.start(keys[0])
        within(15, lambda: sorted(read(one).status for one in there) == [200, 503], [read(one).body for one in there])
        witness.stop()
        witness.start(*keys)
        within(15, lambda: [read(one).status for one in there] == [200, 200], [read(one).body for one in there])
        assert fleet.owner.strongroom("audit", "verify", "--witness", witness.key)["verified"]
    finally:
        fleet.remove()
