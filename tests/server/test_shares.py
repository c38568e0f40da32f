"""Shares: a partner reads some files of one revision until a moment, and nothing else; told with owner, partner, stranger and
analyst."""

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import time
import urllib.request

import pytest

from conftest import PROGRAM, STORES, Person, commit, waiting
from fleet import fleet_with
from test_promises import SlowDownload

DOCS = {"README.md": b"---\nlicense: mit\n---\n# public words\n", "notes/plan.md": b"the plan\n", "notes/deep/more.md": b"more\n"}
CONFIG = {"config.json": b'{"layers": 2}', "tokenizer/vocab.txt": b"a\nb\n", ".gitattributes": b"*.bin binary\n"}
HIDDEN = {
    "model.safetensors": os.urandom(300_000),
    "logs/run-quokka.txt": b"loss 0.1 secret-of-the-log\n",
    "train.py": b"print(1)\n",
    "data/people.csv": b"name\nplanted-person\n",
    "notes/weights.bin": b"\x00" * 50,
}
FILES = {**DOCS, **CONFIG, **HIDDEN}
VARYING = {"date", "x-request-id"}


def titled(person, repo, files, title):
    """A commit whose author wrote something."""
    lines = [json.dumps({"key": "header", "value": {"summary": title, "description": "numbat"}})]
    for path, content in files.items():
        lines.append(json.dumps({"key": "file", "value": {"path": path, "content": content.decode(), "encoding": "utf-8"}}))
    headers = {"Content-Type": "application/x-ndjson"}
    answer = person.http("POST", f"/api/models/{repo}/commit/main", "\n".join(lines).encode(), headers)
    assert answer.status == 200, answer.body
    return answer.json()["commitOid"]


def make(owner, name, files=FILES):
    """A repository with a commit before and one after the one that is shared; gives the three."""
    assert owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"}).status == 200
    # Of what is shared later, a part is there already: to others that commit is the last one of it.
    early = {path: content for path, content in files.items() if path.startswith("notes/")}
    before = titled(owner, f"admin/{name}", {"old-bilby.py": b"before", **early}, "quokka began")
    commit(owner, f"admin/{name}", files)
    shared = owner.http("GET", f"/api/models/admin/{name}").json()["sha"]
    after = titled(owner, f"admin/{name}", {"new-bilby.md": b"after"}, "quokka went on")
    return before, shared, after


def agreed(owner, at, *arguments):
    """A share by the owner; of what two must agree on, a second maintainer does."""
    command = ["share", "create", at, *arguments]
    done = owner.run([PROGRAM, *command, "--json"], fails=None)
    number = waiting(done.stderr)
    if not number:
        assert done.returncode == 0, f"{command}\n{done.stderr}\n{owner.server.log()}"
        return json.loads(done.stdout)
    server = owner.server
    second = server.second()
    if not hasattr(server, "maintained"):
        server.owner.strongroom("role", "grant", "steward", "maintainer", "--namespace", "admin")
        server.maintained = True
    made = second.strongroom("approval", "approve", number)["done"]
    return {**made, **owner.strongroom("share", "token", made["id"])}


def share(owner, at, to, *more, compartments="docs,config", expires="1h", token=None):
    """Made by the owner; gives who holds its token, with `share_id`."""
    made = agreed(owner, at, "--to", to, "--compartments", compartments, "--expires", expires, *more)
    person = Person(owner.server, made["token"], owner.server.folder / f"home-share-{made['id']}")
    person.share_id, person.made, person.token_id = str(made["id"]), made, made["token_id"]
    return person


def heads(answer):
    return {key.lower(): value for key, value in answer.headers.items() if key.lower() not in VARYING}


def same(one, other):
    assert one.status == other.status, (one.status, other.status, one.body, other.body)
    assert one.body == other.body and heads(one) == heads(other), (one.body, other.body, heads(one), heads(other))


def records(person, *arguments):
    return person.strongroom("audit", "search", "--limit", "500", *arguments)["records"]


@pytest.fixture(scope="module")
def repo(owner):
    before, shared, after = make(owner, "llm")
    owner.http("POST", "/api/models/admin/llm/branch/dev", {})
    owner.http("POST", f"/api/models/admin/llm/tag/{shared}", {"tag": "v1.0"})
    owner.http("POST", "/api/repos/create", {"name": "other", "organization": "admin"})
    commit(owner, "admin/other", {"README.md": b"other words"})
    return {"name": "admin/llm", "before": before, "shared": shared, "after": after}


@pytest.fixture(scope="module")
def partner(server, owner, repo):
    """Reads another repository by a role, and two compartments of one revision of this one by a share."""
    plain = server.person("partner", ("partner", "admin"), ("reader", "admin/other"))
    held = share(owner, f"admin/llm@{repo['shared']}", "partner")
    held.plain = plain
    return held


@pytest.fixture(scope="module")
def analyst(server):
    return server.person("analyst", ("auditor", None))


# What is shared


@pytest.mark.parametrize("client", ["current", "hf036"])
@pytest.mark.parametrize("revision", [None, "shared", "short"])
def test_a_stock_client_fetches_exactly_what_is_shared(partner, repo, tmp_path, client, revision):
    said = {None: None, "shared": repo["shared"], "short": repo["shared"][:10]}[revision]
    partner.python(
        f"from huggingface_hub import snapshot_download\n"
        f"snapshot_download('admin/llm', revision={said!r}, local_dir={str(tmp_path)!r})",
        client=client,
    )
    got = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    got = {path: content for path, content in got.items() if not path.startswith(".cache")}
    assert got == {**DOCS, **CONFIG}


def test_what_is_not_shared_is_the_same_404_as_what_is_not_there(partner, repo):
    def ask(path, method="GET"):
        return partner.http(method, path)

    for method in ("GET", "HEAD"):
        for path in HIDDEN:
            hidden, folder = ask(f"/admin/llm/resolve/main/{path}", method), os.path.dirname(path)
            missing = ask(f"/admin/llm/resolve/main/{folder + '/' if folder else ''}nothing.bin", method)
            assert hidden.status == 404, path
            same(hidden, missing)
    for hidden, missing in [("logs", "no-such"), ("data", "no-such"), ("model.safetensors", "no.bin")]:
        same(ask(f"/api/models/admin/llm/tree/main/{hidden}"), ask(f"/api/models/admin/llm/tree/main/{missing}"))
    # Every other revision is none: those before and after it, branches, and what resolves for others.
    for there in [repo["before"], repo["after"], repo["before"][:8], "dev", "v1.0", "refs/pr/1"]:
        for at in ["/api/models/admin/llm/revision/{}", "/api/models/admin/llm/tree/{}", "/api/models/admin/llm/commits/{}", "/admin/llm/resolve/{}/README.md"]:
            there_is, nothing = ask(at.format(there.replace("/", "%2F"))), ask(at.format("no-such-branch"))
            assert there_is.status == 404, (at, there)
            same(there_is, nothing)
    # Every other repository is none, also one that the partner reads with another token.
    for at in ["/api/models/{}", "/{}/resolve/main/README.md", "/api/models/{}/refs"]:
        other, nothing = ask(at.format("admin/other")), ask(at.format("admin/no-such"))
        assert other.status == 404
        same(other, nothing)


def test_large_objects_are_asked_for_by_path_and_not_by_hash(partner, owner, repo):
    def batch(person):
        objects = [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)} for content in (*HIDDEN.values(), *DOCS.values(), b"?")]
        answer = person.http("POST", "/admin/llm.git/info/lfs/objects/batch", {"operation": "download", "objects": objects})
        return [row.get("error", {}).get("code") for row in answer.json()["objects"]]

    assert set(batch(partner)) == {404} and set(batch(owner)) == {404, None}


def test_listings_counts_and_sizes_tell_of_nothing_else(partner, repo):
    get = lambda path: partner.http("GET", path)
    shown = {**DOCS, **CONFIG}
    seen = []

    def read(path):
        answer = get(path)
        assert answer.status == 200, (path, answer.body)
        seen.append(answer.body.decode() + str(answer.headers))
        return answer.json()

    info = read("/api/models/admin/llm?blobs=true")
    assert info["sha"] == repo["shared"] and {file["rfilename"]: file["size"] for file in info["siblings"]} == {
        path: len(content) for path, content in shown.items()
    }
    assert info["usedStorage"] == sum(map(len, shown.values())) and info["cardData"] == {"license": "mit"}
    lines = read("/api/models/admin/llm/tree/main?recursive=true&expand=true")
    assert {line["path"]: line["size"] for line in lines if line["type"] == "file"} == {path: len(content) for path, content in shown.items()}
    assert {line["path"] for line in lines if line["type"] == "directory"} == {"notes", "notes/deep", "tokenizer"}
    assert {line["lastCommit"]["id"] for line in lines} == {repo["shared"]}
    assert len(read("/api/models/admin/llm/tree/main")) == 5
    asked = partner.http("POST", "/api/models/admin/llm/paths-info/main", {"paths": [*FILES, "logs", "notes", "data"], "expand": True})
    seen.append(asked.body.decode())
    assert {line["path"] for line in asked.json()} == {*shown, "notes"}
    refs = read("/api/models/admin/llm/refs")
    assert refs["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo["shared"]}] and refs["tags"] == []
    history = read("/api/models/admin/llm/commits/main?expand[]=formatted")
    assert [line["id"] for line in history] == [repo["shared"]] and history[0]["title"] == "" and history[0]["authors"] == []
    listed = read("/api/models?full=true")
    assert [(row["id"], row["sha"], len(row["siblings"])) for row in listed] == [("admin/llm", repo["shared"], len(shown))]
    assert read("/api/models?search=llm") == read("/api/models?author=admin")
    assert read("/api/models?search=other") == [] == read("/api/datasets")
    for word in ["quokka", "numbat", "bilby", "model.safetensors", "people", "train.py", "weights.bin", repo["before"], repo["after"], "other"]:
        assert [text for text in seen if word in text] == [], word


def test_a_client_reads_commits_and_files_as_of_any_repository(partner, repo, tmp_path):
    told = partner.python(
        "from huggingface_hub import HfApi\n"
        "api = HfApi()\n"
        "print(len(api.list_repo_commits('admin/llm')), len(api.list_repo_refs('admin/llm').branches), sorted(api.list_repo_files('admin/llm')))\n"
        "print([m.id for m in api.list_models()], api.whoami()['orgs'], api.file_exists('admin/llm', 'model.safetensors'))\n"
    )
    assert told.stdout.splitlines() == [f"1 1 {sorted({**DOCS, **CONFIG})}", "['admin/llm'] [] False"]


def test_paths_narrow_a_share_and_what_they_leave_is_as_if_nothing_else_were_there(server, owner, repo):
    server.person("narrow")
    globs = ["notes/deep/**", "config.json", "vocab.*"]
    held = share(owner, f"admin/llm@{repo['shared']}", "narrow", "--paths", *globs)
    left = {path: content for path, content in {**DOCS, **CONFIG}.items() if path in ("notes/deep/more.md", "config.json", "tokenizer/vocab.txt")}
    owner.http("POST", "/api/repos/create", {"name": "only", "organization": "admin"})
    commit(owner, "admin/only", left)
    owner.server.person("whole", ("reader", "admin/only"))
    alone = owner.server.with_token("whole")
    made_with_it = {".gitattributes"}
    for query in ["", "?recursive=true", "?limit=1&recursive=true", "?limit=1"]:
        for below in ["", "/notes", "/notes/deep", "/tokenizer"]:
            listed, path = [], f"/api/models/admin/llm/tree/main{below}{query}"
            while path:
                answer = held.http("GET", path)
                listed += answer.json()
                path = (re.search(r"<https://[^/]+(.*)>", answer.headers.get("Link") or "") or [None, None])[1]
            wanted = alone.http("GET", f"/api/models/admin/only/tree/main{below}{query.replace('limit=1', '')}").json()
            assert listed == [line for line in wanted if line["path"] not in made_with_it], (below, query)
    for path in FILES:
        status = held.http("GET", f"/admin/llm/resolve/main/{path}").status
        assert status == (200 if path in left else 404), path
    same(held.http("GET", "/admin/llm/resolve/main/README.md"), held.http("GET", "/admin/llm/resolve/main/no.md"))
    assert {file["rfilename"] for file in held.http("GET", "/api/models/admin/llm").json()["siblings"]} == set(left)
    asked = held.http("POST", "/api/models/admin/llm/paths-info/main", {"paths": [*FILES, "notes", "notes/deep"]}).json()
    assert {line["path"] for line in asked} == {*left, "notes", "notes/deep"}
    # A folder of which nothing is left is none.
    share_of_one = share(owner, f"admin/llm@{repo['shared']}", "narrow", "--paths", "config.json")
    same(share_of_one.http("GET", "/api/models/admin/llm/tree/main/notes"), share_of_one.http("GET", "/api/models/admin/llm/tree/main/no"))


def test_a_dataset_is_shared_as_a_model_is(server, owner, tmp_path):
    owner.http("POST", "/api/repos/create", {"name": "rows", "organization": "admin", "type": "dataset"})
    commit(owner, "admin/rows", {"README.md": b"# rows", "data/rows.csv": b"a,b\n1,2\n", "logs/x.txt": b"x"}, kind="dataset")
    server.person("reader-of-rows")
    held = share(owner, "admin/rows@main", "reader-of-rows", "--type", "dataset", compartments="data")
    held.hf("download", "admin/rows", "--type", "dataset", "--local-dir", tmp_path)
    got = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert [str(path) for path in got if ".cache" not in str(path)] == ["data/rows.csv"]
    assert held.http("GET", "/api/models").json() == [] and len(held.http("GET", "/api/datasets").json()) == 1
    same(held.http("GET", "/api/models/admin/rows"), held.http("GET", "/api/models/admin/no-such"))


def test_a_share_answers_to_the_name_of_its_revision_and_one_that_follows_moves_with_its_branch(server, owner):
    _, shared, after = make(owner, "moving", {"README.md": b"one"})
    owner.http("POST", f"/api/models/admin/moving/tag/{shared}", {"tag": "v2.0"})
    server.person("follower")
    tagged = share(owner, "admin/moving@v2.0", "follower", compartments="docs")
    following = share(owner, "admin/moving@main", "follower", "--follow", compartments="docs")
    sha = lambda held, revision: held.http("GET", f"/api/models/admin/moving/revision/{revision}").json().get("sha")
    assert [sha(tagged, name) for name in ("main", "v2.0", "refs%2Ftags%2Fv2.0", shared)] == [shared] * 4
    assert sha(following, "main") == after and sha(following, shared) is None
    newest = titled(owner, "admin/moving", {"late.md": b"late"}, "later")
    assert sha(following, "main") == newest == sha(following, newest) and sha(following, after) is None
    assert sha(tagged, "main") == shared and sha(tagged, newest) is None
    assert following.http("GET", "/admin/moving/resolve/main/late.md").body == b"late"
    assert tagged.http("GET", "/admin/moving/resolve/main/late.md").status == 404
    owner.strongroom("share", "create", f"admin/moving@{shared}", "--to", "follower", "--compartments", "docs", "--expires", "1h", "--follow", fails=True)


# Who


def test_only_the_tokens_of_a_share_read_it_and_they_read_nothing_else(partner, repo, owner):
    plain = partner.plain
    for path in ["/admin/llm/resolve/main/README.md", "/api/models/admin/llm", "/api/models/admin/llm/tree/main"]:
        missing = plain.http("GET", path.replace("llm", "no-such"))
        assert missing.status == 404
        same(plain.http("GET", path), missing)
    assert [row["id"] for row in plain.http("GET", "/api/models").json()] == ["admin/other"]
    assert plain.http("GET", "/admin/other/resolve/main/README.md").body == b"other words"
    assert partner.http("GET", "/admin/other/resolve/main/README.md").status == 404
    assert [row["id"] for row in partner.http("GET", "/api/models").json()] == ["admin/llm"]
    who, whole = partner.http("GET", "/api/whoami-v2").json(), plain.http("GET", "/api/whoami-v2").json()
    assert who["orgs"] == [] and who["auth"]["accessToken"]["role"] == "read" and whole["orgs"]
    # A second token of the share is one of the share.
    another = owner.strongroom("share", "token", partner.share_id)
    second = Person(owner.server, another["token"], owner.server.folder / "home-second")
    assert second.http("GET", "/admin/llm/resolve/main/README.md").body == DOCS["README.md"]
    assert second.http("GET", "/admin/other/resolve/main/README.md").status == 404
    owner.strongroom("token", "revoke", another["token_id"])
    assert second.http("GET", "/admin/llm/resolve/main/README.md").status == 401
    assert partner.http("GET", "/admin/llm/resolve/main/README.md").status == 200


def test_whoever_owns_the_repository_does_no_more_with_the_token_of_a_share_than_its_partner(server, owner, repo):
    server.person("mighty", ("owner", "admin"), ("admin", None), ("auditor", None))
    held = share(owner, f"admin/llm@{repo['shared']}", "mighty", compartments="docs")
    assert held.http("GET", "/admin/llm/resolve/main/README.md").status == 200
    assert held.http("GET", "/admin/llm/resolve/main/model.safetensors").status == 404
    assert held.http("GET", "/admin/other/resolve/main/README.md").status == 404
    assert [row["id"] for row in held.http("GET", "/api/models").json()] == ["admin/llm"]
    assert held.http("GET", "/api/whoami-v2").json()["orgs"] == []
    for command in [["user", "list"], ["role", "list"], ["token", "list"], ["audit", "search"], ["lock", "list"], ["quota", "list"]]:
        held.strongroom(*command, fails=True)
    assert held.strongroom("share", "list")["shares"] == []


def test_nothing_is_written_through_a_share(partner, repo, owner):
    http = partner.http
    for answer in [
        commit(partner, "admin/llm", {"README.md": b"x"}, fails=True),
        http("POST", "/api/models/admin/llm/preupload/main", {"files": [{"path": "a", "size": 1, "sample": ""}]}),
        http("POST", "/api/models/admin/llm/branch/mine", {}),
        http("DELETE", "/api/models/admin/llm/branch/dev"),
        http("POST", "/api/models/admin/llm/tag/main", {"tag": "mine"}),
        http("POST", "/api/models/admin/llm/super-squash/main", {"message": "x"}),
        http("PUT", "/api/models/admin/llm/settings", {"gated": False}),
        http("POST", "/api/repos/create", {"name": "mine", "organization": "admin"}),
        http("POST", "/api/repos/create", {"name": "mine"}),
        http("DELETE", "/api/repos/delete", {"name": "llm", "organization": "admin"}),
        http("POST", "/api/repos/move", {"fromRepo": "admin/llm", "toRepo": "admin/mine"}),
        http("GET", "/api/models/admin/llm/xet-write-token/main"),
        http("GET", "/api/models/admin/llm/auth-check/write"),
        http("POST", "/admin/llm.git/info/lfs/objects/batch", {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1}]}),
    ]:
        assert answer.status == 403, answer.body
    partner.strongroom("share", "create", f"admin/llm@{repo['shared']}", "--to", "partner", "--compartments", "docs", "--expires", "1h", fails=True)
    for verb in (["revoke"], ["show"], ["token"], ["extend", "--expires", "2h"]):
        partner.strongroom("share", *verb[:1], partner.share_id, *verb[1:], fails=True)
    assert owner.http("GET", "/api/models/admin/llm").json()["sha"] == repo["after"]


def test_a_right_to_share_is_one_of_its_own_and_reaches_no_further_than_reading(server, owner, repo):
    server.person("someone")
    at = f"admin/llm@{repo['shared']}"
    arguments = ["--to", "someone", "--expires", "1h", "--compartments"]
    for role in ("reader", "writer", "partner"):
        one = server.person(f"a-{role}", (role, "admin"))
        one.strongroom("share", "create", at, *arguments, "docs", fails=True)
    server.person("an-admin", ("admin", None)).strongroom("share", "create", at, *arguments, "docs", fails=True)
    keeper = server.person("a-maintainer", ("maintainer", "admin"))
    owner.strongroom("role", "deny", "a-maintainer", "repo.read", "--compartment", "logs", "--namespace", "admin")
    refused = keeper.strongroom("share", "create", at, *arguments, "docs,logs", fails=True)
    assert "only what one reads oneself" in refused.stderr
    made = keeper.strongroom("share", "create", at, *arguments, "docs,config")
    # Nor is more given out of a share that another made: a token of it would be a way round.
    logs = agreed(owner, at, *arguments, "docs,logs")
    for verb in (["token"], ["extend", "--expires", "2h"]):
        assert "only what one reads oneself" in keeper.strongroom("share", verb[0], logs["id"], *verb[1:], fails=True).stderr
    keeper.strongroom("share", "revoke", logs["id"])
    # The server says which commit a revision is, whatever the client writes.
    spec = {"kind": "model", "repo": "admin/llm", "revision": repo["shared"], "to": "someone", "compartments": ["docs"], "life_s": 60}
    for lie in ({"commit": repo["before"]}, {"commit": "0" * 40}, {}):
        said = owner.http("POST", "/api/strongroom/v1/share", {"Share": {"Create": {**spec, **lie}}}).json()
        assert said["commit"] == repo["shared"]
    # A token that is narrowed shares no more than it reads.
    narrow = server.with_token("a-maintainer", "repo:admin/llm", "compartment:docs")
    narrow.strongroom("share", "create", at, *arguments, "docs,weights", fails=True)
    narrow.strongroom("share", "create", at, *arguments, "docs")
    # Shares of a repository are those of all who manage them, and of nobody else: to others they are not there.
    assert owner.strongroom("share", "show", made["id"])["by"] == "a-maintainer"
    stranger = server.person("a-stranger", ("owner", "elsewhere"))
    there, missing = (stranger.strongroom("share", "revoke", id, fails=True).stderr for id in (str(made["id"]), "4711"))
    assert there == missing and stranger.strongroom("share", "list")["shares"] == []
    for at in ("admin/llm@no-such", "admin/no-such@main"):
        owner.strongroom("share", "create", at, *arguments, "docs", fails=True)
    for arguments in (["--to", "nobody-at-all", "--compartments", "docs"], ["--to", "someone", "--compartments", "dox"]):
        owner.strongroom("share", "create", "admin/llm@main", *arguments, "--expires", "1h", fails=True)


def test_a_denial_wins_over_a_share_too(server, owner, repo):
    server.person("denied-partner")
    held = share(owner, f"admin/llm@{repo['shared']}", "denied-partner")
    assert held.http("GET", "/admin/llm/resolve/main/config.json").status == 200
    owner.strongroom("role", "deny", "denied-partner", "repo.read", "--compartment", "config", "--namespace", "admin")
    assert held.http("GET", "/admin/llm/resolve/main/config.json").status == 404
    assert held.http("GET", "/admin/llm/resolve/main/README.md").status == 200


# Until when


def test_a_share_that_expired_or_was_revoked_is_a_credential_that_does_not_hold(server, owner, repo, analyst):
    server.person("brief")
    # From their first use, so that a slow machine is none that is too late.
    held = share(owner, f"admin/llm@{repo['shared']}", "brief", "--starts", "first-use", expires="2s")
    longer = share(owner, f"admin/llm@{repo['shared']}", "brief", "--starts", "first-use", expires="2s")
    ended = share(owner, f"admin/llm@{repo['shared']}", "brief")
    read = lambda one: one.http("GET", "/admin/llm/resolve/main/README.md").status
    assert [read(one) for one in (held, longer, ended)] == [200, 200, 200]
    owner.strongroom("share", "extend", longer.share_id, "--expires", "1h")
    owner.strongroom("share", "revoke", ended.share_id)
    assert read(ended) == 401
    time.sleep(2.1)
    unknown = Person(server, "srt_" + "A" * 49, server.folder / "home-nobody").http("GET", "/admin/llm/resolve/main/README.md")
    for one in (held, ended):
        same(one.http("GET", "/admin/llm/resolve/main/README.md"), unknown)
    assert read(longer) == 200
    assert owner.strongroom("share", "show", held.share_id)["state"] == "share expired"
    owner.strongroom("share", "extend", ended.share_id, "--expires", "1h", fails=True)
    owner.strongroom("share", "token", ended.share_id, fails=True)
    why = lambda one: {record["reason"] for record in records(analyst, "--share", one.share_id, "--outcome", "denied")}
    assert why(held) == {"share expired"} and "share revoked" in why(ended) and why(longer) == set()


@pytest.mark.parametrize("stop", ["revoke", "expire", "lock-maker", "remove-maker", "lock-partner", "deny"])
def test_a_share_that_ends_ends_an_open_download_within_a_second(server, owner, stop):
    name = f"cut-{stop}"
    owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"})
    commit(owner, f"admin/{name}", {"long.md": os.urandom(12_000_000)})
    server.person(name)
    maker = server.person(f"maker-{stop}", ("maintainer", "admin"))
    held = share(maker, f"admin/{name}@main", name, "--starts", "first-use", expires="3s" if stop == "expire" else "1h")
    download = SlowDownload(held, f"/admin/{name}/resolve/main/long.md")
    if stop == "expire":
        ends = time.monotonic() + 3
        time.sleep(0.5)
        before = download.bytes
        time.sleep(0.5)
        assert download.bytes > before, "it goes on while the share lives"
        time.sleep(max(0, ends - time.monotonic()))
    else:
        owner.strongroom(
            *{
                "revoke": ["share", "revoke", held.share_id],
                "lock-maker": ["lock", "add", "--user", f"maker-{stop}"],
                "remove-maker": ["user", "remove", f"maker-{stop}"],
                "lock-partner": ["lock", "add", "--user", name],
                "deny": ["role", "deny", name, "repo.read", "--compartment", "docs", "--system"],
            }[stop]
        )
    time.sleep(1)
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < 12_000_000, stop
    until = time.monotonic() + 5
    while not (found := records(owner, "--share", held.share_id, "--outcome", "cut")):
        assert time.monotonic() < until
    assert found[0]["action"] == "object.deliver" and found[0]["bytes"] < 12_000_000
    assert held.http("GET", f"/admin/{name}/resolve/main/long.md").status in (401, 404)


def test_no_share_is_for_ever(make_server, tmp_path):
    server = make_server("[shares]\nmax_life_days = 2\n")
    owner = server.owner
    _, shared, _ = make(owner, "llm", {"README.md": b"words"})
    server.person("partner")
    arguments = ["share", "create", f"admin/llm@{shared}", "--to", "partner", "--compartments", "docs"]
    for life in ("3d", "2d1s", "0s", "100years", "9999999999d"):
        assert "max_life_days" in owner.strongroom(*arguments, "--expires", life, fails=True).stderr or life.startswith("9"), life
    for life in ([], ["--expires", "forever"], ["--expires", "never"], ["--expires", "-1d"]):
        assert owner.strongroom(*arguments, *life, fails=True).returncode == 2, life
    made = owner.strongroom(*arguments, "--expires", "1d")
    assert "never lives past" in owner.strongroom("share", "extend", made["id"], "--expires", "3d", fails=True).stderr
    # Not over the API either, and a first use that never comes is no way around it.
    spec = {"kind": "model", "repo": "admin/llm", "revision": "main", "to": "partner", "compartments": ["docs"]}
    for life in (0, 2 * 86400 + 1, 2**63, 2**64 - 1):
        answer = owner.http("POST", "/api/strongroom/v1/share", {"Share": {"Create": {**spec, "life_s": life, "from_first_use": True}}})
        assert answer.status == 400, (life, answer.body)
    assert owner.http("POST", "/api/strongroom/v1/share", {"Share": {"Create": spec}}).status == 400
    waits = owner.strongroom(*arguments, "--expires", "2d", "--starts", "first-use")
    assert waits["ends"] == waits["never_after"] and waits["begun"] is None and waits["state"] == "not used yet"
    assert time.mktime(time.strptime(waits["ends"][:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.strptime(waits["created"][:19], "%Y-%m-%dT%H:%M:%S")) == 2 * 86400
    for days in ("0", "-1", "65536", '"for ever"'):
        file = tmp_path / "strongroom.toml"
        file.write_text(f"[shares]\nmax_life_days = {days}\n")
        refused = subprocess.run([PROGRAM, "serve", "--config", file], capture_output=True, text=True)
        assert refused.returncode == 1 and "max_life_days" in refused.stderr, refused.stderr


def test_the_clock_starts_with_the_first_use_and_goes_on_through_a_restart(make_server):
    server = make_server()
    owner = server.owner
    _, shared, _ = make(owner, "llm", {"README.md": b"words"})
    server.person("late")
    held = share(owner, f"admin/llm@{shared}", "late", "--starts", "first-use", expires="3s")
    listed = share(owner, f"admin/llm@{shared}", "late", "--starts", "first-use", expires="1h")
    time.sleep(3.2)
    # Asking who one is, or for what is not shared, is no use of it.
    assert held.http("GET", "/api/whoami-v2").status == 200
    assert held.http("GET", "/api/models/admin/no-such").status == 404
    show = lambda one: owner.strongroom("share", "show", one.share_id)
    assert show(held)["begun"] is None and show(listed)["begun"] is None
    assert len(listed.http("GET", "/api/models").json()) == 1
    begun = show(listed)["begun"]
    assert begun, "a list shows names"
    server.stop()
    server.start()
    assert listed.http("GET", "/admin/llm/resolve/main/README.md").status == 200
    assert show(listed)["begun"] == begun and show(held)["begun"] is None
    assert held.http("GET", "/admin/llm/resolve/main/README.md").status == 200
    assert show(held)["begun"]
    time.sleep(3.1)
    assert held.http("GET", "/admin/llm/resolve/main/README.md").status == 401


# How much


def test_what_is_asked_for_is_counted_ranges_too_and_past_the_limit_is_429(server, owner, repo, analyst):
    server.person("counted")
    at = f"admin/llm@{repo['shared']}"
    few = share(owner, at, "counted", "--max-downloads", "3")
    get = lambda one, path="README.md", **more: one.http("GET", f"/admin/llm/resolve/main/{path}", headers=more)
    for _ in range(5):
        assert few.http("HEAD", "/admin/llm/resolve/main/README.md").status == 200
    assert get(few).status == 200 and get(few, Range="bytes=0-3").status == 206 and get(few, "no.md").status == 404
    assert get(few, "config.json").status == 200
    spent = get(few, "config.json")
    assert spent.status == 429 and "whoever shared it" in spent.json()["error"]
    # A program tells it from a budget, which comes back by itself.
    assert spent.headers["X-Error-Code"] == "ShareSpent" and spent.headers["Retry-After"] is None
    assert get(few, Range="bytes=0-0").status == 429 and few.http("GET", "/api/models/admin/llm").status == 200
    shown = owner.strongroom("share", "show", few.share_id)
    assert shown["used_downloads"] == 3 and shown["used_bytes"] == len(DOCS["README.md"]) + 4 + len(CONFIG["config.json"])
    denied = records(analyst, "--share", few.share_id, "--action", "object.open", "--outcome", "denied")
    assert len(denied) == 2 and all("share" in record["reason"] and record["share"] == int(few.share_id) for record in denied)
    bytes_ = share(owner, at, "counted", "--max-bytes", "100", compartments="weights")
    weights = "model.safetensors"
    assert get(bytes_, weights).status == 429
    for at_ in (0, 30, 60):
        assert get(bytes_, weights, Range=f"bytes={at_}-{at_ + 29}").status == 206
    assert get(bytes_, weights, Range="bytes=0-10").status == 429
    assert get(bytes_, weights, Range="bytes=0-9").status == 206
    assert get(bytes_, weights, Range="bytes=0-0").status == 429
    assert owner.strongroom("share", "show", bytes_.share_id)["used_bytes"] == 100
    if not STORES.postgres:
        # What a share refuses uses nothing of its principal's day.
        with sqlite3.connect(server.data / "keeper" / "keeper.db") as database:
            id = owner.strongroom("user", "show", "counted")["id"]
            # The row begins with the number of the hour and the bytes in it, as postcard writes them: seven bits a byte.
            body = database.execute("SELECT body FROM budget WHERE actor = 'principal' AND id = ?", (id,)).fetchone()[0]
            numbers = [sum((byte & 127) << 7 * at for at, byte in enumerate(one)) for one in re.findall(rb"(?s)[\x80-\xff]*[\x00-\x7f]", body)]
            used = numbers[1]
        assert used == shown["used_bytes"] + 100
    # Another share with the same principal has its own.
    assert get(share(owner, at, "counted", "--max-downloads", "1")).status == 200
    for wrong in (["--max-downloads", "0"], ["--max-bytes", "0"]):
        owner.strongroom("share", "create", at, "--to", "counted", "--compartments", "docs", "--expires", "1h", *wrong, fails=True)


def test_a_share_is_read_from_its_networks_alone(server, owner, repo, analyst):
    server.person("elsewhere-partner")
    at = f"admin/llm@{repo['shared']}"
    far = share(owner, at, "elsewhere-partner", "--from", "192.0.2.0/24", "2001:db8::/32")
    near = share(owner, at, "elsewhere-partner", "--from", "192.0.2.0/24", "127.0.0.0/8")
    for path in ["/admin/llm/resolve/main/README.md", "/api/models", "/api/whoami-v2"]:
        assert far.http("GET", path).status == 401 and near.http("GET", path).status == 200
    denied = records(analyst, "--share", far.share_id, "--outcome", "denied")
    assert {record["reason"] for record in denied} == {"share: from another address"} and denied[0]["address"] == "127.0.0.1"
    owner.strongroom("share", "create", at, "--to", "elsewhere-partner", "--compartments", "docs", "--expires", "1h", "--from", "192.0.2.1/24", fails=True)


# The record


def test_every_act_through_a_share_and_about_it_names_it(server, owner, repo, analyst):
    server.person("recorded")
    at = f"admin/llm@{repo['shared']}"
    held, other = share(owner, at, "recorded"), share(owner, at, "recorded")
    held.http("GET", "/admin/llm/resolve/main/README.md")
    held.http("GET", "/admin/llm/resolve/main/model.safetensors")
    held.http("GET", "/api/models")
    held.http("GET", "/api/whoami-v2")
    held.http("GET", "/admin/other/resolve/main/README.md")
    commit(held, "admin/llm", {"a.md": b"a"}, fails=True)
    other.http("GET", "/admin/llm/resolve/main/README.md")
    owner.strongroom("share", "show", held.share_id)
    owner.strongroom("share", "extend", held.share_id, "--expires", "2h")
    owner.strongroom("share", "token", held.share_id)
    owner.strongroom("share", "revoke", held.share_id)
    held.http("GET", "/admin/llm/resolve/main/README.md")
    until = time.monotonic() + 10
    while not records(analyst, "--share", held.share_id, "--action", "object.deliver"):
        assert time.monotonic() < until
    found = records(analyst, "--share", held.share_id)
    done = {(record["action"], record["outcome"]) for record in found}
    assert done == {
        ("share.create", "allowed"), ("share.show", "allowed"), ("share.extend", "allowed"), ("share.token", "allowed"),
        ("share.revoke", "allowed"), ("repo.read", "allowed"), ("repo.read", "denied"), ("object.open", "allowed"),
        ("object.deliver", "done"), ("object.absent", "absent"), ("repo.list", "allowed"), ("whoami", "allowed"),
        ("repo.write", "denied"),
    }
    assert {record["share"] for record in found} == {int(held.share_id)}
    assert all(record["share"] == int(held.share_id) for record in records(analyst, "--token", str(held.token_id)))
    made = next(record for record in found if record["action"] == "share.create")
    assert made["principal"] == "admin" and made["revision"] == repo["shared"] and made["compartments"] == ["docs", "config"]
    assert len(records(analyst, "--share", other.share_id)) >= 3 and records(analyst, "--share", "4711") == []
    assert analyst.strongroom("audit", "verify")
    # What the partner can reach is told of all tokens together, and of one.
    found = analyst.strongroom("audit", "what", "--principal", "recorded")
    assert [(each["repo"], each["share"], each["rights"][0]["compartments"]) for each in found["could"]] == [("admin/llm", int(other.share_id), ["docs", "config"])]
    found = analyst.strongroom("audit", "what", "--token", str(other.token_id))
    assert {right["action"] for each in found["could"] for right in each["rights"]} == {"repo.read", "repo.list"}


def test_a_stolen_disk_does_not_say_what_is_shared_with_whom(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    make(owner, "llm", {"README.md": b"words"})
    server.person("wombat-partner")
    terms = tmp_path / "terms.txt"
    terms.write_text("dugong terms of use")
    made = owner.strongroom("share", "create", "admin/llm@main", "--to", "wombat-partner", "--compartments", "docs", "--expires", "1h",
                            "--paths", "possum-folder/**", "--from", "203.0.113.0/24", "--terms", terms)
    for path in server.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            words = ["wombat", "possum", "dugong", "203.0.113", made["token"]]
            assert [word for word in words if word.encode() in content] == [], path


# Terms


def test_nothing_is_shown_before_the_terms_are_accepted_and_the_log_says_which(server, owner, repo, analyst, tmp_path):
    server.person("careful")
    terms = tmp_path / "terms.txt"
    terms.write_text("Do not pass it on.\n")
    held = share(owner, f"admin/llm@{repo['shared']}", "careful", "--terms", terms, "--starts", "first-use")
    paths = ["/api/models/admin/llm", "/api/models", "/admin/llm/resolve/main/README.md", "/api/models/admin/llm/tree/main",
             "/api/models/admin/llm/refs", "/api/models/admin/llm/commits/main"]
    for path in paths:
        answer = held.http("GET", path)
        assert answer.status == 403 and "strongroom share accept" in answer.json()["error"], (path, answer.body)
        assert b"README" not in answer.body and repo["shared"].encode() not in answer.body
    assert held.http("GET", "/api/models/admin/other").status == 404
    assert "strongroom share accept" in held.hf("download", "admin/llm", "README.md", fails=True).stderr
    shown = owner.strongroom("share", "show", held.share_id)
    assert shown["state"] == "terms not accepted" and shown["begun"] is None
    wrong = {"Share": {"Accept": {"sha256": "0" * 64}}}
    assert held.http("POST", "/api/strongroom/v1/share/terms", wrong).status == 409
    assert held.http("GET", "/api/models").status == 403
    stranger = partnerless = server.person("careless")
    partnerless.strongroom("share", "accept", "--yes", fails=True)
    assert stranger.http("POST", "/api/strongroom/v1/share/terms", {"Share": {"Terms": None}}).status == 400
    accepted = held.strongroom("share", "accept", "--yes")["accepted"]
    for path in paths:
        assert held.http("GET", path).status == 200, path
    found = records(analyst, "--share", held.share_id)
    of = lambda action: [(record["outcome"], record.get("digest")) for record in found if record["action"] == action]
    assert of("share.accept") == [("allowed", accepted), ("denied", "0" * 64)] and of("share.create") == [("allowed", accepted)]
    assert accepted == hashlib.sha256(terms.read_bytes()).hexdigest()
    assert owner.strongroom("share", "show", held.share_id)["accepted"]
    # Another share has terms of its own.
    assert share(owner, f"admin/llm@{repo['shared']}", "careful", "--terms", terms).http("GET", "/api/models").status == 403


# Sealed delivery


@pytest.fixture(scope="module")
def sealed(server, owner, repo, tmp_path_factory):
    server.person("vault-partner")
    key = tmp_path_factory.mktemp("partner") / "key.txt"
    made = subprocess.run(["age-keygen", "-o", key], capture_output=True, text=True, check=True)
    recipient = re.search(r"age1[a-z0-9]+", made.stderr)[0]
    at = f"admin/llm@{repo['shared']}"
    arguments = ["--to", "vault-partner", "--compartments", "docs,weights", "--expires", "1h", "--sealed"]
    assert "strongroom user recipient" in owner.strongroom("share", "create", at, *arguments, fails=True).stderr
    for plugin in ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "age1", "ssh-ed25519 AAAA", "/bin/sh"):
        assert "native" in owner.strongroom("user", "recipient", "vault-partner", plugin, fails=True).stderr
    owner.strongroom("user", "recipient", "vault-partner", recipient)
    held = share(owner, at, "vault-partner", "--sealed", "--max-downloads", "50", compartments="docs,weights")
    held.key, held.recipient = key, recipient
    return held


def test_a_sealed_file_opens_with_the_partners_identity_and_the_stock_age(sealed, repo, tmp_path):
    for path in ["README.md", "model.safetensors", "notes/deep/more.md"]:
        url = f"{sealed.server.url}/api/strongroom/v1/sealed/model/admin/llm/main/{path}"
        got = subprocess.run(["curl", "-sSf", "--cacert", sealed.server.ca, "-H", f"Authorization: Bearer {sealed.token}", url], capture_output=True)
        assert got.returncode == 0, got.stderr
        assert FILES[path][:24] not in got.stdout and got.stdout.startswith(b"age-encryption.org/v1\n-> X25519 ")
        assert got.stdout.split(b"---")[0].count(b"->") == 1, "for nobody else"
        opened = subprocess.run(["age", "-d", "-i", sealed.key], input=got.stdout, capture_output=True, check=True)
        assert opened.stdout == FILES[path]
    done = sealed.strongroom("pull", "admin/llm@main", "--identity", sealed.key, "--to", tmp_path)
    shown = {**DOCS, "model.safetensors": HIDDEN["model.safetensors"], "notes/weights.bin": HIDDEN["notes/weights.bin"]}
    got = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert got == shown and done["commit"] == repo["shared"] and len(done["pulled"]) == len(shown)
    one = tmp_path / "one"
    sealed.strongroom("pull", "admin/llm", "README.md", "--identity", sealed.key, "--to", one)
    assert [path.name for path in one.rglob("*") if path.is_file()] == ["README.md"]
    other = tmp_path / "other.txt"
    subprocess.run(["age-keygen", "-o", other], capture_output=True, check=True)
    assert "does not open" in sealed.strongroom("pull", "admin/llm", "README.md", "--identity", other, "--to", tmp_path / "no", fails=True).stderr


def test_no_file_key_leaves_the_keeper_for_a_sealed_share(sealed, analyst, owner):
    fetch = lambda path: sealed.http("GET", f"/api/strongroom/v1/sealed/model/admin/llm/main/{path}")
    before = owner.strongroom("share", "show", sealed.share_id)["used_downloads"]
    whole = fetch("model.safetensors")
    assert whole.status == 200
    until = time.monotonic() + 10
    while not (delivered := records(analyst, "--share", sealed.share_id, "--action", "object.deliver")):
        assert time.monotonic() < until
    # As it was opened: in bytes of the file.
    size = len(FILES["model.safetensors"])
    assert delivered[0]["bytes"] == size < len(whole.body) and delivered[0]["range"] == [0, size] and delivered[0]["outcome"] == "done"
    found = records(analyst, "--share", sealed.share_id)
    assert any(record["action"] == "object.rewrap" and record["path"] == "model.safetensors" for record in found)
    assert not any(record["action"] == "object.open" and record["outcome"] == "allowed" for record in found)
    assert owner.strongroom("share", "show", sealed.share_id)["used_downloads"] == before + 1
    refused = sealed.http("GET", "/admin/llm/resolve/main/README.md")
    assert refused.status == 403 and "strongroom pull" in refused.json()["error"]
    assert any(record["action"] == "object.open" and record["outcome"] == "denied" for record in records(analyst, "--share", sealed.share_id))
    hidden, missing = fetch("config.json"), fetch("no-such.json")
    assert hidden.status == 404
    same(hidden, missing)


def test_nothing_that_a_card_says_is_shown_through_a_sealed_share(server, owner, tmp_path):
    card = b"---\nlicense: wombat-licence\nlibrary_name: wombat-library\ntags: [wombat-tag]\nmodel-index: [{name: wombat}]\n---\n# words\n"
    owner.http("POST", "/api/repos/create", {"name": "sealed-card", "organization": "admin"})
    commit(owner, "admin/sealed-card", {"README.md": card})
    server.person("card-partner")
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
    owner.strongroom("user", "recipient", "card-partner", re.search(r"age1[a-z0-9]+", made.stderr + made.stdout)[0])
    plain = share(owner, "admin/sealed-card@main", "card-partner", compartments="docs")
    held = share(owner, "admin/sealed-card@main", "card-partner", "--sealed", compartments="docs")
    at = "/api/models/admin/sealed-card"
    paths = [at, f"{at}?blobs=true", f"{at}/revision/main", f"{at}?expand=cardData&expand=tags&expand=model-index&expand=library_name"]
    for path in [*paths, "/api/models?full=true&cardData=true"]:
        assert b"wombat" in plain.http("GET", path).body, path
        answer = held.http("GET", path)
        assert answer.status == 200 and b"sealed-card" in answer.body and b"wombat" not in answer.body, (path, answer.body)
    for path in [f"{at}/tree/main?expand=true", f"{at}/commits/main", "/admin/sealed-card/resolve/main/README.md"]:
        assert b"wombat" not in held.http("GET", path).body, path
    # Nor is it found by what its card says.
    assert len(plain.http("GET", "/api/models?filter=wombat-tag").json()) == 1 and held.http("GET", "/api/models?filter=wombat-tag").json() == []


def test_only_a_sealed_share_is_delivered_sealed(partner, owner, repo):
    path = "/api/strongroom/v1/sealed/model/admin/{}/main/README.md"
    assert partner.http("GET", path.format("llm")).status == 403 and owner.http("GET", path.format("llm")).status == 403
    same(partner.http("GET", path.format("other")), partner.http("GET", path.format("no-such")))


def test_a_sealed_delivery_is_cut_with_its_share_and_keeps_to_the_recipient_it_was_made_for(server, owner, sealed):
    owner.http("POST", "/api/repos/create", {"name": "sealed-long", "organization": "admin"})
    commit(owner, "admin/sealed-long", {"long.md": os.urandom(12_000_000)})
    held = share(owner, "admin/sealed-long@main", "vault-partner", "--sealed", compartments="docs")
    owner.strongroom("user", "recipient", "vault-partner")
    assert owner.strongroom("share", "show", held.share_id)["sealed_to"] == sealed.recipient
    download = SlowDownload(held, "/api/strongroom/v1/sealed/model/admin/sealed-long/main/long.md")
    owner.strongroom("share", "revoke", held.share_id)
    time.sleep(1)
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < 12_000_000
    until = time.monotonic() + 5
    while not (found := records(owner, "--share", held.share_id, "--outcome", "cut")):
        assert time.monotonic() < until
    assert found[0]["action"] == "object.deliver" and found[0]["bytes"] < 12_000_000


# Several servers


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    for made in fleet_with(tmp_path_factory, "llm", {"README.md": b"words", "long.md": os.urandom(12_000_000)}):
        made.person("partner")
        yield made


def test_a_share_has_one_count_one_clock_and_one_end_on_all_replicas(fleet):
    read = lambda one: one.http("GET", "/admin/llm/resolve/main/README.md").status
    held = share(fleet.owner, "admin/llm@main", "partner", "--max-downloads", "5", compartments="docs")
    both = [fleet.at(held, server) for server in fleet.servers]
    assert [read(both[at % 2]) for at in range(7)] == [200] * 5 + [429] * 2
    assert {record["log"] for record in records(fleet.owner, "--share", held.share_id, "--action", "object.open")} == {1, 2}
    # Made on the one and used at once on the other, which has not heard of it: the clock begins there, and once.
    owners = [fleet.at(fleet.owner, server) for server in fleet.servers]
    for at in range(6):
        made = share(owners[at % 2], "admin/llm@main", "partner", "--starts", "first-use", compartments="docs")
        users = [fleet.at(made, server) for server in fleet.servers]
        assert read(users[(at + 1) % 2]) == 200
        begun = [one.strongroom("share", "show", made.share_id)["begun"] for one in owners]
        assert begun[0] and begun[0] == begun[1]
        assert read(users[at % 2]) == 200
        assert owners[0].strongroom("share", "show", made.share_id)["begun"] == begun[0]
        owners[(at + 1) % 2].strongroom("share", "revoke", made.share_id)
        assert [read(one) for one in users] == [401, 401]


def test_a_share_that_one_replica_revokes_ends_a_download_on_the_other_within_a_second(fleet):
    held = share(fleet.owner, "admin/llm@main", "partner", compartments="docs")
    first, second = fleet.servers
    request = urllib.request.Request(first.url + "/admin/llm/resolve/main/long.md", headers={"Authorization": f"Bearer {held.token}"})
    with urllib.request.urlopen(request, context=first.tls(), timeout=20) as answer:
        got = len(answer.read(65536))
        fleet.at(fleet.owner, second).strongroom("share", "revoke", held.share_id)
        acknowledged = time.monotonic()
        with pytest.raises(OSError):
            while piece := answer.read(16384):
                got += len(piece)
                time.sleep(0.005)
            raise OSError("ended short") if got < 12_000_000 else AssertionError("the whole file came")
        assert time.monotonic() - acknowledged < 1.5
