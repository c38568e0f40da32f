"""A file's compartment is chosen by its path: whoever may write names what is stored under another path, by its hash. What comes of
it is told with an owner, a writer, a reader of docs, and stock clients."""

import hashlib
import json
import os

import pytest

from conftest import commit, policies, with_budgets
from test_bad_input import HEAD, lines

WEIGHTS, TOOL = os.urandom(1_500_000), b"x = 1\n" * 250_000
CLIENTS = ["current", "without-xet", "hf119", "hf036"]
OWN = {client: os.urandom(1_300_000 + at) for at, client in enumerate(CLIENTS)}
NDJSON = {"Content-Type": "application/x-ndjson"}


def link(person, path, content, repo="admin/llm"):
    """A commit of a file by its hash, with none of its bytes."""
    oid = hashlib.sha256(content).hexdigest()
    line = ("lfsFile", {"path": path, "algo": "sha256", "oid": oid, "size": len(content)})
    return person.http("POST", f"/api/models/{repo}/commit/main", lines(HEAD, line), NDJSON)


def read(person, path, repo="admin/llm"):
    return person.http("GET", f"/{repo}/resolve/main/{path}")


def opened(person, *more):
    return person.strongroom("audit", "search", "--action", "object.open", "--limit", "500", *more)["records"]


def asked_for(person, path, content, repo="admin/llm"):
    """Whether a client that announces this path is asked for the bytes."""
    said = {"files": [{"path": path, "size": len(content), "sample": "AAAA"}]}
    [mode] = person.http("POST", f"/api/models/{repo}/preupload/main", said).json()["files"]
    assert mode["uploadMode"] == "lfs"
    oid = hashlib.sha256(content).hexdigest()
    batch = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": len(content)}]}
    return "actions" in person.http("POST", f"/{repo}.git/info/lfs/objects/batch", batch).json()["objects"][0]


def stocked(server):
    """A repository that somebody else filled, and a writer who may read all of it."""
    owner = server.owner
    assert owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"}).status == 200
    (owner.home / "up").mkdir()
    own = {f"{client}.safetensors": content for client, content in OWN.items()}
    for name, content in {"model.safetensors": WEIGHTS, "tool.py": TOOL, **own}.items():
        (owner.home / "up" / name).write_bytes(content)
    owner.hf("upload", "admin/llm", owner.home / "up", ".")
    return server.person("writer", ("writer", "admin"))


@pytest.fixture(scope="module")
def writer(server):
    return stocked(server)


COPY = """
from huggingface_hub import CommitOperationCopy, HfApi
from huggingface_hub.errors import HfHubHTTPError
try:
    HfApi().create_commit("admin/llm", [CommitOperationCopy("model.safetensors", "figure.pdf")], commit_message="a picture")
except HfHubHTTPError as error:
    print(error.response.status_code, "send its bytes" in str(error))
"""


def test_weights_come_into_docs_by_no_hash(server, owner, writer):
    head = owner.http("GET", "/api/models/admin/llm").json()["sha"]
    for path in ("figure.pdf", "config.json", "run.py"):
        refused = link(writer, path, WEIGHTS)
        assert refused.status == 403 and "in weights" in refused.json()["error"] and "send its bytes" in refused.json()["error"]
        assert read(owner, path).status == 404
    assert writer.python(COPY).stdout.split() == ["403", "True"]
    # Nor what else the same commit puts elsewhere.
    oids = [hashlib.sha256(content).hexdigest() for content in (TOOL, WEIGHTS)]
    both = [("lfsFile", {"path": path, "algo": "sha256", "oid": oid}) for path, oid in zip(("tool.md", "figure.pdf"), oids)]
    assert writer.http("POST", "/api/models/admin/llm/commit/main", lines(HEAD, *both), NDJSON).status == 403
    assert owner.http("GET", "/api/models/admin/llm").json()["sha"] == head
    found = opened(owner, "--principal", "writer")
    assert {(one["outcome"], *one["compartments"]) for one in found} == {("denied", "weights")}
    assert {one["path"] for one in found} == {"figure.pdf", "config.json", "run.py"}


def test_what_comes_into_another_compartment_by_its_hash_is_read_there(server, owner, writer):
    for path, content, part in (("tool.md", TOOL, "code"), ("model.csv", WEIGHTS, "weights")):
        assert link(writer, path, content).status == 200 and read(owner, path).body == content
        [one] = [one for one in opened(owner, "--principal", "writer") if one["path"] == path]
        assert (one["outcome"], one["compartments"], one["range"]) == ("allowed", [part], [0, len(content)])
        did = owner.strongroom("audit", "what", "--principal", "writer")["did"]
        [told] = [each for each in did["read"] if each["path"] == path]
        assert told["compartment"] == part and told["ranges"] == [[0, len(content)]]
        # Nothing of it left the server.
        assert (told["opened"], told["sent"], told["unfinished"]) == (1, 0, 0)
    # Within its compartment a file is named again, and nothing is read.
    before = len(opened(owner, "--principal", "writer"))
    assert link(writer, "again.safetensors", WEIGHTS).status == 200 and not asked_for(writer, "more.safetensors", WEIGHTS)
    assert len(opened(owner, "--principal", "writer")) == before


def test_a_client_is_asked_for_the_bytes_of_what_does_not_come_by_its_hash(server, owner, writer):
    other = server.person("other-writer", ("writer", "admin"))
    assert not asked_for(other, "a.safetensors", WEIGHTS) and not asked_for(other, "tool.json", TOOL)
    assert asked_for(other, "b.pdf", WEIGHTS)
    # It is known of whoever announced it, and asks nothing of another.
    assert not asked_for(writer, "a.safetensors", WEIGHTS)


@pytest.mark.parametrize("client", CLIENTS)
def test_whoever_has_the_bytes_sends_them_for_any_path(owner, writer, client):
    held = writer.home / f"held-{client}"
    held.write_bytes(OWN[client])
    assert link(writer, f"{client}.pdf", OWN[client]).status == 403
    read_before = [one for one in opened(owner, "--principal", "writer") if one["outcome"] == "allowed" and one["compartments"] != ["inbox"]]
    writer.hf("upload", "admin/llm", held, f"{client}.pdf", client=client)
    assert read(owner, f"{client}.pdf").body == OWN[client]
    assert [one for one in opened(owner, "--principal", "writer") if one["outcome"] == "allowed" and one["compartments"] != ["inbox"]] == read_before


def test_what_comes_by_its_hash_is_counted_by_budgets(make_server, tmp_path):
    server = make_server(with_budgets(tmp_path, '[token]\nbytes_per_hour = { hard = "2MiB" }\n'))
    writer = stocked(server)
    assert link(writer, "tool.md", TOOL).status == 200
    refused = link(writer, "tool.json", TOOL)
    assert refused.status == 429 and refused.headers["X-Error-Code"] == "OverBudget" and int(refused.headers["Retry-After"]) > 0
    assert read(server.owner, "tool.json").status == 404


def test_where_one_may_share_all_of_it_a_hash_brings_it_anywhere_and_is_counted(make_server, tmp_path):
    server = make_server(policies(tmp_path / "policies", share=[]))
    writer = stocked(server)
    assert link(writer, "figure.pdf", WEIGHTS).status == 200 and read(server.owner, "figure.pdf").body == WEIGHTS
    [one] = opened(server.owner, "--principal", "writer")
    assert (one["outcome"], one["compartments"], one["path"]) == ("allowed", ["weights"], "figure.pdf")
