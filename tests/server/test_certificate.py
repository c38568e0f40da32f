"""The server's certificate, renewed by whoever has the root key, and by nobody else."""

import shutil
import ssl
import subprocess

from conftest import PROGRAM


def renew(server, *arguments, fails=False):
    command = [PROGRAM, "key", "renew-certificate", *map(str, server.arguments), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


def served(server):
    return ssl.get_server_certificate(("127.0.0.1", server.port), ca_certs=str(server.ca))


def test_a_renewed_certificate_is_of_the_same_ca_and_names_the_new_hosts(make_server, tmp_path):
    server = make_server("[server]\n")
    before = served(server)
    config = server.folder / "strongroom.toml"
    config.write_text(f'[server]\nhosts = ["new.example.org:{server.port}"]\n' + config.read_text().replace("[server]\n", ""))
    told = subprocess.run([PROGRAM, "doctor", *map(str, server.arguments), "--json"], capture_output=True, text=True)
    assert "does not name new.example.org" in told.stdout and "renew-certificate" in told.stdout
    renew(server)
    assert served(server) == before, "until the next start"
    server.stop()
    server.start()
    assert served(server) != before and server.owner.http("GET", "/api/whoami-v2").status == 200
    import socket

    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        with server.tls().wrap_socket(plain, server_hostname="new.example.org") as secure:
            assert secure.version() == "TLSv1.3"
    told = subprocess.run([PROGRAM, "doctor", *map(str, server.arguments), "--json"], capture_output=True, text=True)
    assert "certificate" not in told.stdout
    # If the renewal died between its two files: the public copy is old, and what is served is a pair.
    tls = server.data / "tls"
    old = tls / "server.pem"
    old.write_text(before)
    server.stop()
    server.start()
    assert server.owner.http("GET", "/api/whoami-v2").status == 200


def test_without_the_right_root_key_nothing_is_renewed(make_server, tmp_path):
    server, other = make_server(), make_server()
    pair = server.data / "tls" / "server.key"
    before = pair.read_bytes()
    key = tmp_path / "root.key"
    shutil.copy(other.root_key, key)
    key.chmod(0o400)
    server.arguments = [key if part == server.root_key else part for part in server.arguments]
    assert "root key" in renew(server, fails=True).stderr
    assert pair.read_bytes() == before and oct(pair.stat().st_mode)[-3:] == "600"


def test_a_key_and_a_chain_in_two_files_are_served_too(make_server):
    server = make_server()
    pair = server.data / "tls" / "server.key"
    text = pair.read_text()
    pair.write_text(text[: text.index("-----BEGIN CERTIFICATE")])
    server.stop()
    server.start()
    assert server.owner.http("GET", "/api/whoami-v2").status == 200
