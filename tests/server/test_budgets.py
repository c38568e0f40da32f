"""Budgets: how much an actor may read in how long, and which part of a repository; told with owner, partner and reader."""

import hashlib
import random
import re
import secrets

import pytest

from conftest import Person, age_key, commit, with_budgets
from fleet import Fleet
from postgres import programs
from test_shares import agreed
from weed import HAPROXY
from weed import PROGRAM as WEED

MIB = 1 << 20
QUARTER = """
[share]
coverage = [{ compartment = "weights", within = "90days", soft = 10, hard = 24 }]
"""


def make(owner, name, files):
    assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
    commit(owner, f"admin/{name}", files)


def records(owner, *arguments):
    return owner.strongroom("audit", "search", "--limit", "500", *arguments)["records"]


def with_tokens(owner, share, count):
    """The holders of as many tokens of a share."""
    holders = [Person(owner.server, share["token"], owner.server.folder / "home-share")]
    for at in range(count - 1):
        token = owner.strongroom("share", "token", str(share["id"]))["token"]
        holders.append(Person(owner.server, token, owner.server.folder / f"home-share-{at}"))
    return holders


def test_a_share_read_with_five_tokens_in_ranges_out_of_order_ends_before_a_quarter(make_server, tmp_path):
    server = make_server(with_budgets(tmp_path, QUARTER))
    owner, content = server.owner, secrets.token_bytes(8 * MIB)
    make(owner, "llm", {"model.safetensors": content[: 4 * MIB], "more.safetensors": content[4 * MIB :], "README.md": b"words"})
    server.person("partner")
    terms = ["--to", "partner", "--compartments", "docs,weights", "--expires", "1h"]
    share = agreed(owner, "admin/llm@main", *terms)
    holders = with_tokens(owner, share, 5)
    step, taken, refused = 64 * 1024, {}, None
    places = [(name, at) for name in ("model", "more") for at in range(0, 4 * MIB, step)]
    random.Random(7).shuffle(places)
    for turn, (name, at) in enumerate(places):
        path, asked = f"/admin/llm/resolve/main/{name}.safetensors", {"Range": f"bytes={at}-{at + step - 1}"}
        answer = holders[turn % 5].http("GET", path, headers=asked)
        if answer.status != 206:
            refused = answer
            break
        taken[name, at] = answer.body
        assert holders[(turn + 1) % 5].http("GET", path, headers=asked).body == answer.body, "the same bytes, again"
    assert refused.status == 429 and refused.headers["X-Error-Code"] == "OverBudget"
    budget = {"of": "share", "what": {"coverage": "weights"}, "within": "90days"}
    assert refused.json()["budget"] == budget and "coverage of weights" in refused.json()["error"]
    assert int(refused.headers["Retry-After"]) == refused.json()["retry_after"] > 24 * 3600
    assert 8 * MIB / 5 < len(taken) * step < 8 * MIB / 4
    for holder in holders:
        assert holder.http("GET", path, headers=asked).status == 429, "with any of its tokens"
        assert holder.http("GET", "/admin/llm/resolve/main/README.md").body == b"words", "another compartment"
    (name, at), body = next(iter(taken.items()))
    again = holders[0].http("GET", f"/admin/llm/resolve/main/{name}.safetensors", headers={"Range": f"bytes={at}-{at + step - 1}"})
    assert again.body == body, "what was taken may be taken again"
    assert len(records(owner, "--action", "budget.warn")) == 1, "warned once"
    denied = records(owner, "--action", "object.open", "--outcome", "denied")
    assert len(denied) == 6 and all(record["share"] == share["id"] for record in denied)
    server.stop()
    server.start()
    assert holders[1].http("GET", path, headers=asked).status == 429, "after a restart as before"


def test_the_hf_client_is_told_which_budget_is_spent(make_server, tmp_path):
    server = make_server(with_budgets(tmp_path, '[token]\nbytes_per_hour = { hard = "50KiB" }\n'))
    make(server.owner, "llm", {"model.safetensors": secrets.token_bytes(60 * 1024), "README.md": b"words"})
    reader = server.person("reader", ("reader", "admin"))
    reader.hf("download", "admin/llm", "README.md")
    done = reader.hf("download", "admin/llm", "model.safetensors", fails=True)
    assert "429" in done.stdout + done.stderr
    told = reader.python(
        "from huggingface_hub import hf_hub_download\n"
        "from huggingface_hub.errors import HfHubHTTPError\n"
        "try:\n    hf_hub_download('admin/llm', 'model.safetensors')\n"
        "except HfHubHTTPError as error:\n"
        "    print(error.response.status_code, error.response.headers['x-error-code'], error)\n"
    )
    assert told.stdout.startswith("429 OverBudget") and "bytes in an hour of this token" in told.stdout


def test_who_crosses_a_line_that_locks_is_locked_and_a_line_in_bytes_holds_for_sealed_delivery_too(make_server, tmp_path):
    lines = (
        '[principal]\nlock = true\nbytes_per_day = { hard = "1MiB" }\n[share]\n'
        'coverage = [{ compartment = "weights", within = "day", hard_bytes = "300KiB" }]\n'
    )
    server = make_server(with_budgets(tmp_path, lines))
    owner = server.owner
    make(owner, "llm", {f"{name}.safetensors": secrets.token_bytes(200 * 1024) for name in "abcdefg"})
    reader = server.person("reader", ("reader", "admin"))
    for name in "abcde":
        assert reader.http("GET", f"/admin/llm/resolve/main/{name}.safetensors").status == 200
    assert reader.http("GET", "/admin/llm/resolve/main/f.safetensors").status == 429
    assert reader.http("GET", "/admin/llm/resolve/main/a.safetensors").status == 401, "locked"
    assert [lock["subject"] for lock in owner.strongroom("lock", "list")["locks"]] == ["user reader"]
    server.person("partner")
    age_key(owner, "partner", tmp_path)
    terms = ["--to", "partner", "--compartments", "weights", "--expires", "1h", "--sealed"]
    share = agreed(owner, "admin/llm@main", *terms)
    (partner,) = with_tokens(owner, share, 1)
    sealed = "/api/strongroom/v1/sealed/model/admin/llm/main/{}.safetensors"
    assert partner.http("GET", sealed.format("a")).status == 200
    assert partner.http("GET", sealed.format("a")).status == 200, "the same again"
    assert partner.http("GET", sealed.format("b")).status == 429


@pytest.mark.parametrize("actor", ["token", "share"])
def test_a_line_that_locks_locks_the_actor_whose_line_it_is_and_nobody_beside(make_server, tmp_path, actor):
    server = make_server(with_budgets(tmp_path, f'[{actor}]\nlock = true\nbytes_per_day = {{ hard = "500KiB" }}\n'))
    owner = server.owner
    make(owner, "llm", {f"{name}.bin": secrets.token_bytes(200 * 1024) for name in "abc"})
    reader = server.person("reader", ("reader", "admin"))
    if actor == "token":
        over, beside, number = [reader], [server.with_token("reader")], reader.token_id
    else:
        terms = ["--to", "reader", "--compartments", "weights", "--expires", "1h"]
        first, second = (agreed(owner, "admin/llm@main", *terms) for _ in range(2))
        over, beside, number = with_tokens(owner, first, 2), [*with_tokens(owner, second, 1), reader], first["id"]
    read = lambda person, name: person.http("GET", f"/admin/llm/resolve/main/{name}.bin").status
    assert [read(over[at % len(over)], name) for at, name in enumerate("abc")] == [200, 200, 429]
    assert [read(one, "a") for one in over] == [401] * len(over)
    assert [read(one, "a") for one in beside] == [200] * len(beside)
    assert [lock["subject"] for lock in owner.strongroom("lock", "list")["locks"]] == [f"{actor} {number}"]


@pytest.mark.parametrize("door", ["resolve", "ranges", "lfs", "recover"])
def test_bytes_are_counted_through_every_door(make_server, tmp_path, door):
    config = with_budgets(tmp_path, '[principal]\nbytes_per_day = { hard = "500KiB" }\n')
    dual = next(tmp_path.rglob("dual-control.toml"))
    dual.write_text(re.sub(r"(?m)^recover = .*", "recover = false", dual.read_text()))
    server = make_server(config)
    contents = {f"{name}.bin": secrets.token_bytes(200 * 1024) for name in "abc"}
    make(server.owner, "llm", contents)
    reader = server.person("reader", ("reader", "admin"))
    server.agreed("role", "allow", "reader", "key.recover", "--compartment", "weights", "--namespace", "admin")

    def read(name):
        path = f"{name}.bin"
        if door == "lfs":
            asked = {"oid": hashlib.sha256(contents[path]).hexdigest(), "size": len(contents[path])}
            body = {"operation": "download", "transfers": ["basic"], "objects": [asked]}
            [told] = reader.http("POST", "/admin/llm.git/info/lfs/objects/batch", body).json()["objects"]
            return reader.http("GET", told["actions"]["download"]["href"].removeprefix(server.url), token=False)
        if door == "recover":
            body = {"kind": "model", "repo": "admin/llm", "revision": "main", "path": path}
            return reader.http("POST", "/api/strongroom/v1/key/recover", body)
        headers = {"Range": "bytes=0-204799"} if door == "ranges" else None
        return reader.http("GET", f"/admin/llm/resolve/main/{path}", headers=headers)

    answers = [read(name) for name in "abc"]
    assert [answer.status for answer in answers] == [206 if door == "ranges" else 200] * 2 + [429], answers[-1].body
    assert answers[2].headers["X-Error-Code"] == "OverBudget"


@pytest.mark.skipif(not (programs() and WEED.exists() and HAPROXY), reason="--without postgres, s3 or haproxy")
def test_what_two_replicas_give_out_is_counted_together(tmp_path):
    fleet = Fleet(tmp_path, more=with_budgets(tmp_path / "lines", QUARTER.replace("share", "principal")))
    try:
        make(fleet.owner, "llm", {"model.safetensors": secrets.token_bytes(4 * MIB)})
        reader = fleet.person("reader", ("reader", "admin"))
        replicas = [fleet.at(reader, server) for server in fleet.servers]
        got = 0
        for turn in range(32):
            asked = {"Range": f"bytes={turn * 131072}-{turn * 131072 + 131071}"}
            answer = replicas[turn % 2].http("GET", "/admin/llm/resolve/main/model.safetensors", headers=asked)
            if answer.status == 429:
                break
            got += len(answer.body)
        assert 4 * MIB / 5 < got < MIB and answer.json()["budget"]["of"] == "principal"
        assert all(one.http("GET", "/admin/llm/resolve/main/model.safetensors", headers=asked).status == 429 for one in replicas)
    finally:
        fleet.remove()
