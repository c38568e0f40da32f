"""Seals: whoever seals the server, or a repository, leaves nothing in any memory that opens it."""

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import PROGRAM, Person, commit, held_by_people
from fleet import Fleet
from test_promises import bech32_bytes, memory_holds

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")


def reading(person, path, rate=50_000):
    """A download that takes its time: (how many bytes came, when it ended), once it ended."""
    came = [0, None]
    began = threading.Event()

    def read():
        connection = http.client.HTTPSConnection("localhost", person.server.port, context=person.server.tls(), timeout=30)
        try:
            connection.connect()
            # What it received is its own: only little of it may wait for it to read.
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.request("GET", path, headers={"Authorization": f"Bearer {person.token}"})
            answer = connection.getresponse()
            while piece := answer.read(rate):
                came[0] += len(piece)
                began.set()
                time.sleep(0.02)
        except (OSError, http.client.HTTPException):
            pass
        came[1] = time.monotonic()

    thread = threading.Thread(target=read)
    thread.start()
    assert began.wait(20)
    return thread, came


def unsealed_here(server, fails=False):
    command = [PROGRAM, "unseal", "--here", *map(str, server.arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    return done


def images(server):
    """All that the server's processes could leave in a core image: supervisor, keeper and gate."""
    return [server.process.pid, server.child("keeper"), server.child("gate")]


def new_children(server, old, seconds=10):
    """Waits until other processes do the work."""
    until = time.monotonic() + seconds
    while True:
        now = {role: server.child(role) for role in old}
        if all(now[role] not in (None, old[role]) for role in old):
            return now
        assert time.monotonic() < until, server.log()
        time.sleep(0.02)


@as_root
def test_a_seal_ends_every_stream_within_a_second_and_leaves_no_key_and_no_plaintext_in_memory(make_server, tmp_path):
    server = make_server()
    owner, planted = server.owner, secrets.token_bytes(24)
    analyst = server.person("analyst", ("security", None))
    large = tmp_path / "large.bin"
    large.write_bytes((os.urandom(40_000) + planted) * 500)
    owner.hf("upload", "admin/llm", large, "large.bin")
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").body == large.read_bytes()
    key = [line for line in server.root_key.read_text().splitlines() if line.startswith("AGE-SECRET")][0]
    needles = {"root key": bech32_bytes(key), "root key's text": key.encode(), "plaintext": planted, "token": owner.token.encode()}
    thread, came = reading(owner, "/admin/llm/resolve/main/large.bin")
    before = {role: server.child(role) for role in ("keeper", "gate")}
    # While it serves, they are there: the search itself works.
    assert "root key" in memory_holds(before["keeper"], needles)
    assert "plaintext" in memory_holds(before["gate"], needles)
    done = analyst.strongroom("seal", "--reason", "somebody is inside")
    answered = time.monotonic()
    assert done["sealed"] == "the server" and "unseal --here" in done["next"]
    thread.join()
    assert came[1] - answered < 1 and came[0] < large.stat().st_size
    new_children(server, before)
    server.wait(answer=b"sealed")
    for process in images(server):
        assert memory_holds(process, needles) == set(), Path(f"/proc/{process}/cmdline").read_bytes()[:80]
    # Nothing but its health is answered, also not after it was started again, although its root key lies where it lay.
    assert owner.http("GET", "/api/whoami-v2").status == 503
    server.stop()
    server.start(b"sealed")
    for path in ("/admin/llm/resolve/main/large.bin", "/api/models", "/api/strongroom/metrics"):
        assert owner.http("GET", path).status == 503
    assert owner.strongroom("status") == {"status": "sealed"}
    for process in images(server):
        assert memory_holds(process, needles) == set()
    # It is not for whoever has a token, be it an administrator's, to end a seal.
    refused = owner.run([PROGRAM, "unseal"], fails=True, input="srs.2.AAAA.BBBBBB\n").stderr
    assert "strongroom unseal --here" in refused
    done = unsealed_here(server)
    assert '"opened":true' in done.stdout.replace(" ", ""), done.stdout
    server.wait()
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").body == large.read_bytes()
    records = owner.strongroom("audit", "search")["records"]
    sealed = next(record for record in records if record["action"] == "system.seal")
    assert (sealed["principal"], sealed["reason"], sealed["outcome"]) == ("analyst", "somebody is inside", "allowed")
    assert next(record for record in records if record["action"] == "system.unseal")["outcome"] == "done"
    owner.strongroom("audit", "verify")
    assert "not sealed" in unsealed_here(server, fails=True).stderr


@pytest.mark.parametrize("end", ["seal", "kill"])
def test_a_gate_that_is_killed_leaves_nothing_in_the_kernel_that_still_goes_to_a_slow_client(make_server, end):
    server = make_server()
    server.owner.hf("repos", "create", "admin/llm")
    commit(server.owner, "admin/llm", {"large.md": os.urandom(12_000_000)})
    with server.owner.slowly("/admin/llm/resolve/main/large.md") as connection:
        assert connection.recv(1000)
        # Time in which the gate hands over what the kernel takes: megabytes.
        time.sleep(1)
        before = {role: server.child(role) for role in ("keeper", "gate")}
        if end == "seal":
            server.owner.strongroom("seal")
            new_children(server, before)
        else:
            os.kill(before["gate"], signal.SIGKILL)
            new_children(server, {"gate": before["gate"]})
        # It reads on: what it had received itself, and not what waited for it.
        came = 0
        with contextlib.suppress(OSError):
            while piece := connection.recv(16384):
                came += len(piece)
    assert came < 100_000


def test_only_who_may_seal_seals_and_another_root_key_does_not_unseal(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    commit_to = owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    assert commit_to.status == 200
    for person in (server.person("reader", ("reader", "admin")), server.person("auditor", ("auditor", None)), server.stranger()):
        body = {"Seal": {"Server": {"reason": "mischief"}}}
        assert person.http("POST", "/api/strongroom/v1/seal", body).status in (401, 403)
        body = {"Seal": {"Repo": {"kind": "model", "repo": "admin/llm", "reason": "mischief", "shares": None}}}
        assert person.http("POST", "/api/strongroom/v1/seal", body).status in (401, 403)
    assert owner.strongroom("status") == {"status": "ok"}
    before = {role: server.child(role) for role in ("keeper", "gate")}
    owner.strongroom("seal")
    new_children(server, before)
    server.wait(answer=b"sealed")
    other = tmp_path / "other.key"
    other.write_bytes(subprocess.run(["age-keygen"], capture_output=True, check=True).stdout)
    other.chmod(0o400)
    arguments = [other if part == server.root_key else part for part in server.arguments]
    done = subprocess.run([PROGRAM, "unseal", "--here", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 1 and "is this the root key" in done.stderr
    assert owner.strongroom("status") == {"status": "sealed"}
    # A server that does not run opens when it is started.
    server.stop()
    unsealed = unsealed_here(server)
    assert "it opens when it is started" in unsealed.stdout
    server.start()
    assert owner.http("GET", "/api/whoami-v2").status == 200


@pytest.mark.parametrize("how", ["shares", "passphrase"])
def test_a_server_whose_root_key_people_hold_is_unsealed_by_them_again(tmp_path_factory, how):
    server, shares = held_by_people(tmp_path_factory.mktemp("sealed"), how)
    try:
        owner, shares = server.owner, shares[:2]
        for turn in range(2):
            for share in shares:
                owner.run([PROGRAM, "unseal"], input=share)
            assert owner.strongroom("status") == {"status": "ok"}
            before = {role: server.child(role) for role in ("keeper", "gate")}
            done = owner.strongroom("seal")
            assert "at every server" in done["next"] and "--here" not in done["next"]
            new_children(server, before)
            server.wait(answer=b"sealed")
        for share in shares:
            owner.run([PROGRAM, "unseal"], input=share)
        by = [record["reason"] for record in owner.strongroom("audit", "search", "--action", "system.unseal")["records"]]
        assert len(by) == 3 and all(how in reason for reason in by)
    finally:
        server.stop()


@as_root
def test_a_sealed_repository_leaves_the_keepers_memory_and_others_go_on(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    analyst = server.person("analyst", ("security", None))
    large = os.urandom(20_000_000)
    for name in ("llm", "other"):
        (tmp_path / name).write_bytes(large)
        owner.hf("upload", f"admin/{name}", tmp_path / name, "large.bin")
    key = next(line for line in server.root_key.read_text().splitlines() if line.startswith("AGE-SECRET"))
    (tmp_path / "identity").write_text(key)

    def secret(number):
        from test_rotate_repository import rows

        wrapped = bytes(rows(server, "keeper", f"SELECT secret FROM repo WHERE id = {number}")[0][0])
        return subprocess.run(["age", "-d", "-i", tmp_path / "identity"], input=wrapped, capture_output=True, check=True).stdout

    needles = {"llm": secret(1), "other": secret(2)}
    sealed, on = reading(owner, "/admin/llm/resolve/main/large.bin"), reading(owner, "/admin/other/resolve/main/large.bin")
    assert memory_holds(server.child("keeper"), needles) == {"llm", "other"}
    analyst.strongroom("seal", "--repo", "admin/llm", "--reason", "under investigation")
    answered = time.monotonic()
    sealed[0].join()
    assert sealed[1][1] - answered < 1 and sealed[1][0] < len(large)
    on[0].join()
    assert on[1][0] == len(large)
    # Sealed or absent is the same.
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").status == 404
    assert memory_holds(server.child("keeper"), needles) == {"other"}
    listed = analyst.strongroom("seal", "--list")["seals"]
    assert [(row["repo"], row["reason"], row["shares"]) for row in listed] == [("admin/llm", "under investigation", None)]
    assert "unseal --repo" in analyst.run([PROGRAM, "lock", "remove", "--repo", "admin/llm"], fails=True).stderr
    assert "sealed already" in analyst.run([PROGRAM, "seal", "--repo", "admin/llm"], fails=True).stderr
    server.stop()
    server.start()
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").status == 404
    analyst.strongroom("unseal", "--repo", "admin/llm")
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").body == large
    # One that was locked before stays so.
    analyst.strongroom("lock", "add", "--repo", "admin/llm")
    analyst.strongroom("seal", "--repo", "admin/llm")
    assert analyst.strongroom("unseal", "--repo", "admin/llm")["locked"] is True
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").status == 404
    analyst.strongroom("lock", "remove", "--repo", "admin/llm")
    assert owner.http("GET", "/admin/llm/resolve/main/large.bin").status == 200


def test_what_is_sealed_with_shares_opens_with_enough_of_them_and_not_with_the_root_key(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    for name in ("llm", "other"):
        owner.hf("repos", "create", f"admin/{name}")
        commit(owner, f"admin/{name}", {"README.md": name.encode()})
    done = owner.strongroom("seal", "--repo", "admin/llm", "--shares", "2of3", "--reason", "closed")
    shares = done["shares"]
    assert len(set(shares)) == 3 and done["needed"] == 2
    elsewhere = owner.strongroom("seal", "--repo", "admin/other", "--shares", "2of2")["shares"]
    assert owner.http("GET", "/admin/llm/resolve/main/README.md").status == 404
    # The root key opens nothing of it: what was wrapped for it is gone.
    key = next(line for line in server.root_key.read_text().splitlines() if line.startswith("AGE-SECRET"))
    (tmp_path / "identity").write_text(key)
    from test_rotate_repository import rows

    assert rows(server, "keeper", "SELECT secret FROM repo WHERE id = 1") == [(None,)]
    wrapped = bytes(rows(server, "keeper", "SELECT secret FROM repo_seal WHERE repo = 1")[0][0])
    assert subprocess.run(["age", "-d", "-i", tmp_path / "identity"], input=wrapped, capture_output=True).returncode != 0

    def unseal(lines, fails=True):
        return owner.run([PROGRAM, "unseal", "--repo", "admin/llm", "--json"], fails=fails, input="\n".join(lines))

    assert "2 shares open it, and 0 came" in unseal([]).stderr
    assert "2 shares open it, and 1 came" in unseal(shares[:1]).stderr
    assert "given already" in unseal([shares[0], shares[0]]).stderr
    assert "these shares open another seal" in unseal(elsewhere).stderr
    assert "not a share" in unseal(["nonsense", shares[0]]).stderr
    # A new root key does not concern it, nor does a restart, nor a check of all that is stored.
    owner.strongroom("key", "rotate", "root")
    server.stop()
    command = [PROGRAM, "check", *map(str, server.arguments[:4]), *map(str, server.arguments[6:]), "--json"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert '"sealed"' in checked.stdout
    server.start()
    assert owner.http("GET", "/admin/llm/resolve/main/README.md").status == 404
    unseal([shares[2], shares[0]], fails=False)
    assert owner.http("GET", "/admin/llm/resolve/main/README.md").body == b"llm"
    assert rows(server, "keeper", "SELECT COUNT(*) FROM repo_seal") == [(1,)]
    # No share is in any record, and none lies anywhere.
    for path in server.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(share.encode() in content for share in shares + elsewhere), path
    told = owner.run([PROGRAM, "audit", "search", "--json"]).stdout
    assert not any(share in told or share.split(".")[2] in told for share in shares)


def test_a_seal_given_at_one_replica_holds_on_the_other_and_one_machine_lets_both_open(tmp_path_factory, tmp_path):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        first, second = fleet.servers
        fleet.owner.hf("repos", "create", "admin/llm")
        commit(fleet.owner, "admin/llm", {"README.md": b"words"})
        large = tmp_path / "large.bin"
        large.write_bytes(os.urandom(20_000_000))
        fleet.owner.hf("upload", "admin/llm", large, "large.bin")
        there = [Person(server, fleet.owner.token, fleet.owner.home) for server in fleet.servers]
        # A repository, sealed with shares at the one and unsealed at the other.
        shares = there[0].strongroom("seal", "--repo", "admin/llm", "--shares", "2of2")["shares"]
        assert there[1].http("GET", "/admin/llm/resolve/main/README.md").status == 404
        there[1].run([PROGRAM, "unseal", "--repo", "admin/llm"], input="\n".join(shares))
        for person in there:
            assert person.http("GET", "/admin/llm/resolve/main/README.md").body == b"words"
        thread, came = reading(there[1], "/admin/llm/resolve/main/large.bin")
        before = [{role: server.child(role) for role in ("keeper", "gate")} for server in fleet.servers]
        there[0].strongroom("seal")
        answered = time.monotonic()
        thread.join()
        assert came[1] - answered < 1 and came[0] < 20_000_000
        for server, old in zip(fleet.servers, before):
            new_children(server, old)
            server.wait(answer=b"sealed")
        unsealed_here(first)
        for server in fleet.servers:
            server.wait()
        for person in there:
            assert person.http("GET", "/admin/llm/resolve/main/README.md").body == b"words"
        there[1].strongroom("audit", "verify")
    finally:
        fleet.remove()
