"""What leaves as ciphertext, with its header for somebody else, is a stream and a reading as any: it is stopped, and told to its bytes.
Told with a partner to whom files are delivered sealed, with somebody who breaks the glass, and with an analyst."""

import os
import time

import pytest

from conftest import Server, age_key, commit, policies
from test_alerts import within
from test_incident import offline, opened
from test_promises import SlowDownload
from test_rotate_repository import step
from test_shares import share

LONG = 12_000_000
SEALED = "/api/strongroom/v1/sealed/model/admin/llm/main/"
FILES = {"README.md": b"# words\n" * 30_000, "long.md": os.urandom(LONG)}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    rules = policies(tmp_path_factory.mktemp("rules") / "policies", recover=False, share=[])
    server = Server(tmp_path_factory.mktemp("given"), rules)
    server.owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(server.owner, "admin/llm", FILES)
    server.analyst = server.person("analyst", ("security", None))
    yield server
    server.stop()


def breaker(house, name):
    person = house.person(name, ("reader", "admin"))
    house.agreed("role", "allow", name, "key.recover", "--compartment", "docs", "--namespace", "admin")
    return person


def recovery(path):
    return {"kind": "model", "repo": "admin/llm", "revision": "main", "path": path}


def partner(house, name):
    house.person(name)
    age_key(house.owner, name, house.folder)
    return share(house.owner, "admin/llm@main", name, "--sealed", compartments="docs")


def read_of(house, folder, *subject, path, since="1h"):
    """What the incident tells of a path, once the end of its stream is in the log."""
    folder.mkdir(exist_ok=True)
    told = {}

    def ended():
        found, bundle = opened(house.analyst, folder, *subject, "--since", since)
        told["found"] = found
        [told["read"]] = [read for read in found["read"] if read["path"] == path]
        told["offline"] = offline(bundle, found["key"])
        bundle.unlink()
        return told["read"]["unfinished"] == 0

    within(10, ended, told)
    assert told["offline"]["read"] == told["found"]["read"]
    return told["read"], told["found"]


@pytest.mark.parametrize("door", ["sealed", "recover"])
def test_a_file_that_is_given_out_whole_is_told_with_its_bytes_and_its_end(house, tmp_path, door):
    size = len(FILES["README.md"])
    if door == "sealed":
        person = partner(house, "whole-partner")
        assert person.http("GET", SEALED + "README.md").status == 200
        subject = ("--share", person.share_id)
    else:
        person = breaker(house, "whole-breaker")
        assert person.http("POST", "/api/strongroom/v1/key/recover", recovery("README.md")).status == 200
        subject = ("--principal", "whole-breaker")
    read, found = read_of(house, tmp_path / "bundle", *subject, path="README.md")
    assert read["ranges"] == [[0, size]] and (read["opened"], read["bytes"], read["sent"]) == (1, size, size)
    assert read["recovered"] == (1 if door == "recover" else 0) and found["bytes_sent"] == size


@pytest.mark.parametrize("door", ["sealed", "recover"])
@pytest.mark.parametrize("stop", ["user", "token", "repo"])
def test_a_lock_ends_it_within_a_second_and_what_left_is_told(house, tmp_path, door, stop):
    name = f"{door}-{stop}"
    person = partner(house, name) if door == "sealed" else breaker(house, name)
    download = SlowDownload(person, *([SEALED + "long.md"] if door == "sealed" else ["/api/strongroom/v1/key/recover", recovery("long.md")]))
    what = {"user": ["--user", name], "token": ["--token", str(person.token_id)], "repo": ["--repo", "admin/llm"]}[stop]
    house.owner.strongroom("lock", "add", *what, "--reason", "incident")
    time.sleep(1)
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < LONG
    house.owner.strongroom("lock", "remove", *what)
    read, found = read_of(house, tmp_path / "bundle", "--token", str(person.token_id), path="long.md")
    assert read["ranges"] == [[0, LONG]] and arrived * 0.9 < read["sent"] < LONG and found["bytes_sent"] == read["sent"]


def test_what_was_opened_before_the_time_and_sent_within_it_is_told(house, tmp_path):
    reader = house.person("early", ("reader", "admin"))
    download = SlowDownload(reader, "/admin/llm/resolve/main/long.md")
    time.sleep(1.1)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(0.5)
    house.owner.strongroom("role", "revoke", "early", "reader", "--namespace", "admin")
    download.join()
    told = lambda: house.analyst.strongroom("audit", "what", "--principal", "early", "--since", since)["did"]["read"]
    within(10, told, house.log())
    read, found = read_of(house, tmp_path / "bundle", "--principal", "early", path="long.md", since=since)
    assert (read["opened"], read["opened_before"], read["compartment"]) == (0, 1, "docs")
    assert read["ranges"] == [[0, LONG]] and download.bytes <= read["sent"] < LONG and found["compartments"] == ["docs"]
    whole, _ = read_of(house, tmp_path / "bundle", "--principal", "early", path="long.md")
    assert whole["opened"] == 1 and "opened_before" not in whole and whole["commit"] == read["commit"]


def test_the_keys_of_a_locked_repository_are_not_fetched_back_to_rotate_them(house):
    house.owner.strongroom("lock", "add", "--repo", "admin/llm")
    refused = step(house.owner, {"Begin": {"re_encrypt": False}})
    house.owner.strongroom("lock", "remove", "--repo", "admin/llm")
    assert refused.status == 409 and "locked" in refused.json()["error"], refused.body
