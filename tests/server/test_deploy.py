"""What operators get in deploy/: units, manifests and a balancer that are true of this binary."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from conftest import PROGRAM, free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
EXPOSURE_MAX = {"strongroom.service": 1.5, "strongroom-gate.service": 1.5, "strongroom-courier@.service": 1.5, "strongroom-witness.service": 1.5, "strongroom-keeper.service": 0.5}
UNITS = sorted(DEPLOY.rglob("*.service"))


def test_a_units_exposure_is_what_is_promised():
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    units = {unit.name: unit for unit in UNITS}
    assert units.keys() == EXPOSURE_MAX.keys()
    for name, unit in units.items():
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
        told = subprocess.run(command, capture_output=True, text=True)
        score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told.stdout)
        assert score, told.stdout + told.stderr
        assert float(score[1]) <= EXPOSURE_MAX[name], told.stdout


def test_a_units_command_is_one_that_the_program_knows():
    for unit in UNITS:
        lines = [line.split("=", 1)[1] for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        assert lines
        for line in lines:
            words = shlex.split(line)[1:]
            # A usage error is 2; a configuration that is not there is 1 and names it.
            file = "/etc/strongroom/witness.logs" if "witness" in unit.name else "/etc/strongroom/strongroom.toml"
            done = subprocess.run([PROGRAM, *words], capture_output=True, text=True)
            assert done.returncode == 1 and file in done.stderr, done.stderr


def test_a_unit_allows_every_system_call_that_the_server_makes(make_server, tmp_path):
    """The unit's filter against what strace sees of a server that starts, writes, reads and stops."""
    if not shutil.which("strace") or not shutil.which("systemd-analyze"):
        pytest.skip("no strace or no systemd-analyze")
    server = make_server()
    server.stop()
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", trace, PROGRAM, "serve", *server.arguments]
    server.output = open(server.folder / "server.log", "ab")
    server.process = subprocess.Popen([str(part) for part in command], stdout=server.output, stderr=server.output)
    try:
        server.wait(60)
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(os.urandom(300_000))
        server.owner.hf("upload", "admin/traced", folder)
        server.owner.hf("download", "admin/traced", "--local-dir", tmp_path / "copy")
    finally:
        for child in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split():
            os.kill(int(child), 15)
        server.process.wait(60)
        server.output.close()
    # `PID name(…`. SQLite gives its files to the directory's owner where it runs as root, which the unit's server does not.
    root = {"fchown"} if os.geteuid() == 0 else set()
    made = {match[1] for match in re.finditer(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(), re.M)}
    assert {"landlock_restrict_self", "seccomp", "listen", "execve", "fsync"} <= made
    # Both halves together: those who run apart are held to no less.
    for unit in UNITS:
        landlock = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"} if "keeper" in unit.name else set()
        assert made - root - landlock - allowed(unit) == set(), unit.name


def allowed(unit):
    """The system calls that a unit's SystemCallFilter= lines leave, as systemd.exec(5) reads them."""
    told = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True).stdout
    sets, name = {}, None
    for line in told.splitlines():
        if line.startswith(("@", "# @")):
            name = line.lstrip("# ").strip()
            sets[name] = set()
        elif line.startswith("    ") and not line.strip().startswith("#") and name:
            sets[name].add(line.strip())

    def spread(word):
        return {call for inner in sets[word] for call in spread(inner)} if word.startswith("@") else {word}

    # execve and a few more are always allowed to a list of what is allowed.
    left = spread("@default")
    for line in unit.read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            words = line.split("=", 1)[1]
            calls = {call for word in words.lstrip("~").split() for call in spread(word)}
            left = left - calls if words.startswith("~") else left | calls
    return left


def manifests():
    folder = DEPLOY / "kubernetes"
    top = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert sorted(top["resources"]) == sorted(f.name for f in folder.glob("*.yaml") if f.name != "kustomization.yaml")
    found = [document for name in top["resources"] for document in yaml.safe_load_all((folder / name).read_text())]
    return {document["kind"]: document for document in found}


def test_the_manifests_give_the_pod_nothing_that_it_does_not_need():
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for container in pod["containers"] + pod["initContainers"]:
        closed = container["securityContext"]
        assert closed["readOnlyRootFilesystem"] is True and closed["privileged"] is False
        assert closed["allowPrivilegeEscalation"] is False and closed["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
    for volume in pod["volumes"]:
        assert "hostPath" not in volume
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o400
    main = pod["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert main[probe]["httpGet"] == {"path": "/healthz", "port": "https", "scheme": "HTTPS"}
    # Secrets reach the server as its own files only, never as variables.
    assert "env" not in main and "envFrom" not in main
    assert not any(mount["name"].startswith("secret") for mount in main["volumeMounts"])


def test_the_network_policy_names_its_ports_and_the_selectors_meet_the_pod():
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    policy = found["NetworkPolicy"]["spec"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        policy["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [8443]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 5432, 443}
    assert all(rule["ports"] for rule in policy["egress"])


def test_the_manifests_configuration_is_accepted_and_its_files_are_laid(tmp_path):
    found = manifests()
    text = found["ConfigMap"]["data"]["strongroom.toml"]
    file = tmp_path / "strongroom.toml"
    file.write_text(text)
    done = subprocess.run([PROGRAM, "doctor", "--config", str(file), "--json"], capture_output=True, text=True)
    refused = [finding["what"] for finding in json.loads(done.stdout)["findings"] if finding["level"] == "refused"]
    # The tests may run as root; the pod does not.
    assert set(refused) <= {"the server runs as root"}, done.stdout
    pod = found["Deployment"]["spec"]["template"]["spec"]
    laid = pod["initContainers"][0]["args"][0]
    for key in re.findall(r'"/keys/([^"]+)"', text):
        assert re.search(rf"\b{re.escape(key)}\b", laid), key
    assert "install -m 0400" in laid


def test_the_manifests_way_of_laying_files_gives_a_data_directory_that_doctor_accepts(tmp_path):
    laid = manifests()["Deployment"]["spec"]["template"]["spec"]["initContainers"][0]["args"][0]
    for path in ("/secrets/keys", "/secrets/tls", "/keys", "/var/lib/strongroom"):
        (tmp_path / path.strip("/")).mkdir(parents=True)
        laid = laid.replace(f'"{path}/', f'"{tmp_path}{path}/').replace(f" {path}/", f" {tmp_path}{path}/")
    for name in ("keys/root.key", "keys/keeper.password", "keys/gate.password", "keys/s3.key", "tls/ca.pem", "tls/server.pem", "tls/server.key"):
        file = tmp_path / "secrets" / name
        file.write_text("x")
        file.chmod(0o440)
    for _ in range(2):
        # Twice: a container that starts again finds what the first one laid.
        subprocess.run(["/bin/sh", "-euc", laid], check=True)
    command = [PROGRAM, "doctor", "--data-dir", tmp_path / "var/lib/strongroom/data", "--root-key", tmp_path / "keys/root.key", "--json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def balanced(make_server, tmp_path):
    """A server behind deploy/haproxy.cfg, with one replica that is down and two that are there."""
    if not shutil.which("haproxy"):
        pytest.skip("no haproxy")
    port = free_port()
    server = make_server(f'[server]\nhosts = ["localhost:{port}"]\n')

    def config(ca):
        text = (DEPLOY / "haproxy.cfg").read_text()
        text = text.replace("bind :443", f"bind 127.0.0.1:{port}").replace("log /dev/log local0", "log stdout local0")
        text = text.replace("10.0.0.11:8443", f"127.0.0.1:{free_port()}")
        # The one that is down first, always.
        text = text.replace("balance leastconn", "balance first")
        text = re.sub(r"10\.0\.0\.1[23]:8443", f"127.0.0.1:{server.port}", text).replace("strongroom.example.org", "localhost")
        file = tmp_path / "haproxy.cfg"
        file.write_text(text.replace("/etc/haproxy/strongroom-ca.pem", str(ca)))
        subprocess.run(["haproxy", "-c", "-q", "-f", str(file)], check=True)
        return subprocess.Popen(["haproxy", "-db", "-f", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    started = []

    def start(ca=None):
        started.append(config(ca or server.ca))
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        return server, port

    yield start
    for process in started:
        assert process.poll() is None, process.stdout.read()
        process.terminate()
        process.wait(10)


def through(server, port):
    direct, server.url = server.url, f"https://localhost:{port}"
    try:
        return server.owner.http("GET", "/api/whoami-v2").status
    except OSError:
        return None
    finally:
        server.url = direct


def test_the_balancer_sends_clients_past_a_replica_that_is_down(balanced):
    server, port = balanced()
    # From the first: also before the checks have noticed.
    assert [through(server, port) for _ in range(10)] == [200] * 10


def test_the_balancer_sends_nobody_to_a_replica_whose_certificate_is_of_another_ca(balanced, make_server):
    server, port = balanced(make_server().ca)
    until = time.monotonic() + 20
    while time.monotonic() < until and through(server, port) is not None:
        time.sleep(0.5)
    assert [through(server, port) for _ in range(3)] == [None] * 3
