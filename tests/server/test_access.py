"""Asking for access: a repository is disclosed to somebody, who asks; whoever shares it decides; what is given is a share. Told
with owner, asker, stranger and analyst."""

import json

import pytest

from conftest import Person, Server, commit, policies
from test_shares import make, records, same

README = "/admin/llm/resolve/main/README.md"
ASK = "/admin/llm/ask-access"
PATHS = ["/api/models/admin/{}", "/admin/{}/resolve/main/README.md", "/api/models/admin/{}/tree/main", "/api/models/admin/{}/refs",
         "/api/models/admin/{}/revision/main", "/api/models/admin/{}/commits/main", "/api/models/admin/{}/auth-check",
         "/api/models/admin/{}/user-access-request/pending"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Here one person is enough for a share of weights; that two are needed is told at the end."""
    folder = tmp_path_factory.mktemp("server")
    made = Server(folder, policies(folder / "policies", share=[]))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def repo(owner):
    owner.http("POST", "/api/repos/create", {"name": "other", "organization": "admin"})
    return make(owner, "llm")[1]


@pytest.fixture(scope="module")
def analyst(server):
    return server.person("analyst", ("auditor", None))


def known(server, owner, name, *scope):
    """Somebody to whom the repository was disclosed."""
    person = server.person(name, scope=scope)
    owner.strongroom("access", "disclose", "admin/llm", "--to", name)
    return person


def taken(person, repo="admin/llm", *more):
    """Who holds the share's token that the asker took."""
    made = person.strongroom("access", "token", repo, *more)
    held = Person(person.server, made["token"], person.server.folder / f"home-taken-{made['token_id']}")
    held.share_id, held.token_id = str(made["share"]), made["token_id"]
    return held


# Who may know


def test_only_those_to_whom_it_was_disclosed_learn_that_a_repository_exists(server, owner, repo):
    stranger, asker, other = server.person("stranger"), known(server, owner, "asker"), server.person("other", ("reader", "elsewhere"))
    for person in (stranger, other, server.stranger()):
        for path in PATHS:
            hidden, missing = person.http("GET", path.format("llm")), person.http("GET", path.format("no-such"))
            assert hidden.status in (401, 404)
            same(hidden, missing)
        for path, body in [("/admin/{}/ask-access", {}), ("/api/models/admin/{}/user-access-request/handle", {"user": "asker", "status": "accepted"}),
                           ("/api/models/admin/{}/user-access-request/grant", {"user": "stranger"})]:
            hidden, missing = person.http("POST", path.format("llm"), body), person.http("POST", path.format("no-such"), body)
            assert hidden.status in (401, 404), hidden.body
            same(hidden, missing)
        if person.token:
            for verb in ("ask", "withdraw", "token"):
                assert person.strongroom("access", verb, "admin/llm", fails=True).stderr == person.strongroom("access", verb, "admin/no-such", fails=True).stderr
    # To the asker it is gated, and nothing else of it is told: no commit, name of a file, size or date.
    for path in PATHS:
        answer = asker.http("GET", path.format("llm"))
        assert answer.status == 403 and answer.headers["X-Error-Code"] == "GatedRepo", (path, answer.body)
        assert "Access to model admin/llm is restricted" in answer.json()["error"] and set(answer.json()) == {"error"}
        assert repo[:8] not in answer.body.decode() + str(answer.headers) and "README" not in answer.json()["error"]
        assert asker.http("GET", path.format("no-such")).status == 404
    assert asker.http("GET", "/api/models").json() == [] and asker.http("GET", "/admin/llm/resolve/main/no-such.md").status == 403
    # It is that one repository, of that one kind.
    assert asker.http("GET", "/api/models/admin/other").status == 404 == asker.http("GET", "/api/datasets/admin/llm").status
    owner.strongroom("access", "conceal", "admin/llm", "--from", "asker")
    for path in PATHS:
        same(asker.http("GET", path.format("llm")), asker.http("GET", path.format("no-such")))


def test_whoever_shares_a_repository_discloses_it_and_nobody_else(server, owner, repo):
    asker = server.person("undisclosed")
    for role in ("reader", "writer", "partner"):
        one = server.person(f"no-{role}", (role, "admin"))
        one.strongroom("access", "disclose", "admin/llm", "--to", "undisclosed", fails=True)
        one.strongroom("access", "list", "--status", "pending")
    known(server, owner, "knower").strongroom("access", "disclose", "admin/llm", "--to", "undisclosed", fails=True)
    assert asker.http("GET", README).status == 404
    server.person("a-maintainer", ("maintainer", "admin")).strongroom("access", "disclose", "admin/llm", "--to", "undisclosed")
    assert asker.http("GET", README).status == 403
    # A denial is an administrator's: whoever shares neither passes it nor takes it away.
    owner.strongroom("access", "conceal", "admin/llm", "--from", "undisclosed")
    owner.strongroom("role", "deny", "undisclosed", "repo.ask", "--repo", "admin/llm")
    assert "administrator" in owner.strongroom("access", "disclose", "admin/llm", "--to", "undisclosed", fails=True).stderr
    owner.strongroom("access", "conceal", "admin/llm", "--from", "undisclosed")
    assert asker.http("GET", README).status == 404
    assert [line["effect"] for line in owner.strongroom("role", "list")["lines"] if line["user"] == "undisclosed"] == ["deny"]
    # Nor does a token that is narrowed to something else know of it.
    narrow = known(server, owner, "narrowed", "repo:admin/other")
    assert narrow.http("GET", README).status == 404 == narrow.http("POST", ASK, {}).status


def test_a_stock_client_is_told_that_the_repository_is_gated(server, owner, repo):
    asker = known(server, owner, "stock")
    told = asker.python(
        "from huggingface_hub import HfApi\n"
        "from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError\n"
        "api = HfApi()\n"
        "for ask in (lambda: api.hf_hub_download('admin/llm', 'README.md'), lambda: api.snapshot_download('admin/llm'), lambda: api.auth_check('admin/llm')):\n"
        "    try:\n"
        "        ask()\n"
        "    except GatedRepoError as error:\n"
        "        print('gated', 'strongroom access ask' in str(error))\n"
        "try:\n"
        "    api.auth_check('admin/no-such')\n"
        "except GatedRepoError:\n"
        "    print('gated')\n"
        "except RepositoryNotFoundError:\n"
        "    print('missing')\n"
    )
    assert told.stdout.splitlines() == ["gated True"] * 3 + ["missing"]


# Asking


def test_a_request_is_seen_by_whoever_shares_the_repository_and_by_nobody_else(server, owner, repo, analyst):
    asker, other = known(server, owner, "hopeful"), known(server, owner, "another")
    first = asker.http("POST", ASK, {"affiliation": "ACME", "age": 7})
    assert first.status == 200 and first.json()["status"] == "pending"
    assert asker.http("POST", ASK, {"affiliation": "ACME again"}).json() == first.json(), "one request, however often"
    body, form = b"why=to+test&who=a%26b", {"Content-Type": "application/x-www-form-urlencoded"}
    assert other.http("POST", ASK, body, form).json()["status"] == "pending"
    listed = {row["user"]: row for row in owner.strongroom("access", "list", "--status", "pending")["requests"]}
    assert listed["hopeful"]["fields"] == {"affiliation": "ACME", "age": "7"} and listed["another"]["fields"] == {"why": "to test", "who": "a&b"}
    assert [row["user"] for row in asker.strongroom("access", "mine")["requests"]] == ["hopeful"]
    for person in (asker, analyst, server.person("elsewhere-owner", ("owner", "elsewhere")), server.person("only-reader", ("reader", "admin"))):
        assert person.strongroom("access", "list")["requests"] == []
    assert asker.http("GET", "/api/models/admin/llm/user-access-request/pending").status == 403
    # Whoever asked reads nothing yet, cannot decide for themselves, and takes no token.
    assert asker.http("GET", README).status == 403
    for answer in (asker.http("POST", "/api/models/admin/llm/user-access-request/handle", {"user": "hopeful", "status": "accepted"}),
                   asker.http("POST", "/api/models/admin/llm/user-access-request/grant", {"user": "hopeful"})):
        assert answer.status == 403
    asker.strongroom("access", "token", "admin/llm", fails=True)
    asker.strongroom("access", "withdraw", "admin/llm")
    assert "hopeful" not in {row["user"] for row in owner.strongroom("access", "list")["requests"]}
    # A number is never given to another request: what is decided by it is what was seen.
    again = asker.http("POST", ASK, {}).json()["requestId"]
    asker.strongroom("access", "withdraw", "admin/llm")
    third = known(server, owner, "third").http("POST", ASK, {}).json()["requestId"]
    assert len({first.json()["requestId"], again, third}) == 3
    for wrong in [{str(at): "x" for at in range(17)}, {"x": "y" * 2049}]:
        assert known(server, owner, f"wordy-{len(wrong)}").http("POST", ASK, wrong).status == 400
    assert asker.http("POST", ASK, b"{", {"Content-Type": "application/json"}).status == 400
    done = {(record["action"], record["principal"]) for record in records(analyst, "--repo", "admin/llm")}
    assert {("access.ask", "hopeful"), ("access.withdraw", "hopeful"), ("access.ask", "another"), ("access.disclose", "admin")} <= done


# Deciding


def test_approval_makes_a_share_with_its_terms_its_end_and_its_compartments_and_nothing_else(server, owner, repo, analyst, tmp_path):
    asker = known(server, owner, "approved")
    asker.strongroom("access", "ask", "admin/llm", "--reason", "to try it")
    terms = tmp_path / "terms.txt"
    terms.write_text("Do not pass it on.\n")
    arguments = ["--to", "approved", "--compartments", "docs", "--expires", "1h", "--terms", terms]
    for wrong in (["--expires", "0s"], ["--expires", "100years"]):
        owner.strongroom("access", "approve", f"admin/llm@{repo}", *arguments[:4], *wrong, fails=True)
    assert owner.strongroom("access", "approve", "admin/llm", "--to", "approved", fails=True).returncode == 2, "how long, and what, is always said"
    made = owner.strongroom("access", "approve", f"admin/llm@{repo}", *arguments)
    assert made["to"] == "approved" and made["compartments"] == ["docs"] and made["commit"] == repo and "token" not in made
    # Nothing became of the asker's own token: it is told what to do.
    answer = asker.http("GET", README)
    assert answer.status == 403 and "strongroom access token" in answer.json()["error"]
    held = taken(asker)
    assert held.share_id == str(made["id"])
    assert held.http("GET", README).status == 403, "the terms come first"
    held.strongroom("share", "accept", "--yes")
    assert held.http("GET", README).status == 200
    assert held.http("GET", "/admin/llm/resolve/main/model.safetensors").status == 404
    assert "already" in owner.strongroom("access", "approve", "admin/llm", *arguments, fails=True).stderr
    [mine] = asker.strongroom("access", "mine")["requests"]
    assert mine["status"] == "accepted" and mine["share"] == made["id"] and mine["ends"] == made["ends"]
    # No role, no line but the one that discloses it.
    assert [row for row in owner.strongroom("role", "list")["roles"] if row["user"] == "approved"] == []
    assert [line["action"] for line in owner.strongroom("role", "list")["lines"] if line["user"] == "approved"] == ["repo.ask"]
    # Each step is in the log; those about the share count there.
    found = records(analyst, "--share", held.share_id)
    assert sorted(record["share_event"] for record in found) == list(range(1, len(found) + 1))
    assert {"access.token", "access.approve", "share.accept"} <= {record["action"] for record in found}
    # It ends as any share does, and then is asked for anew.
    owner.strongroom("share", "revoke", held.share_id)
    assert held.http("GET", README).status == 401
    # She may still know of it: it was disclosed to her.
    assert asker.strongroom("access", "mine")["requests"][0]["over"] == "share revoked"
    assert "revoked" in asker.strongroom("access", "token", "admin/llm", fails=True).stderr
    assert asker.http("POST", ASK, {}).json()["status"] == "pending"


def test_a_share_that_is_over_tells_nobody_of_its_repository(server, owner, repo):
    asker = known(server, owner, "passing")
    asker.strongroom("access", "ask", "admin/llm")
    made = owner.strongroom("access", "approve", "admin/llm", "--to", "passing", "--compartments", "docs", "--expires", "1h")
    owner.strongroom("access", "conceal", "admin/llm", "--from", "passing")
    # As long as it is read, whoever reads it knows of it.
    assert [row["share"] for row in asker.strongroom("access", "mine")["requests"]] == [made["id"]]
    assert taken(asker).http("GET", README).status == 200
    owner.strongroom("share", "revoke", str(made["id"]))
    assert asker.strongroom("access", "mine")["requests"] == []
    for verb in ("token", "ask", "withdraw"):
        told, missing = (asker.strongroom("access", verb, name, fails=True).stderr for name in ("admin/llm", "admin/no-such"))
        assert told == missing, verb


def test_nobody_gives_more_than_they_read_themselves_and_only_to_who_asked(server, owner, repo):
    asker = known(server, owner, "eager")
    keeper = server.person("half-reader", ("maintainer", "admin"))
    owner.strongroom("role", "deny", "half-reader", "repo.read", "--compartment", "logs", "--namespace", "admin")
    arguments = ["--to", "eager", "--expires", "1h", "--compartments"]
    assert "has not asked" in keeper.strongroom("access", "approve", "admin/llm", *arguments, "docs", fails=True).stderr
    asker.strongroom("access", "ask", "admin/llm")
    assert "only what one reads oneself" in keeper.strongroom("access", "approve", "admin/llm", *arguments, "docs,logs", fails=True).stderr
    for role in ("writer", "reader"):
        server.person(f"mere-{role}", (role, "admin")).strongroom("access", "approve", "admin/llm", *arguments, "docs", fails=True)
    keeper.strongroom("access", "approve", "admin/llm", *arguments, "docs")
    # Another takes no token of it, and who asked no more than their own token's scope lets through.
    known(server, owner, "nosy").strongroom("access", "token", "admin/llm", fails=True)
    assert "narrowed" in server.with_token("eager", "compartment:config").strongroom("access", "token", "admin/llm", fails=True).stderr
    server.with_token("eager", "action:whoami").strongroom("access", "token", "admin/llm", fails=True)
    held = taken(asker)
    assert held.http("GET", README).status == 200
    # The token of a share asks for nothing and takes none.
    for verb in ("ask", "token", "withdraw"):
        held.strongroom("access", verb, "admin/llm", fails=True)
    assert held.http("POST", ASK, {}).status == 404
    for _ in range(9):
        taken(asker)
    assert "10 tokens" in asker.strongroom("access", "token", "admin/llm", fails=True).stderr


def test_who_was_rejected_is_told_why_and_a_decision_that_is_taken_back_ends_the_share(server, owner, repo, analyst):
    asker = known(server, owner, "unlucky")
    asker.strongroom("access", "ask", "admin/llm")
    assert owner.strongroom("access", "reject", "admin/llm", "--user", "unlucky", fails=True).returncode == 2, "a reason is given"
    owner.strongroom("access", "reject", "admin/llm", "--user", "unlucky", "--reason", "no contract yet")
    answer = asker.http("POST", ASK, {})
    assert answer.status == 403 and "no contract yet" in answer.json()["error"]
    assert asker.strongroom("access", "mine")["requests"][0]["reason"] == "no contract yet"
    assert asker.http("GET", README).headers["X-Error-Code"] == "GatedRepo"
    owner.strongroom("access", "reopen", "admin/llm", "--user", "unlucky")
    owner.strongroom("access", "approve", "admin/llm", "--to", "unlucky", "--compartments", "docs", "--expires", "1h")
    held = taken(asker)
    assert held.http("GET", README).status == 200
    owner.strongroom("access", "reject", "admin/llm", "--user", "unlucky", "--reason", "ended")
    assert held.http("GET", README).status == 401
    assert {"access.ask", "access.reject", "access.reopen", "access.approve", "access.token"} <= {
        record["action"] for record in records(analyst, "--repo", "admin/llm") if record["outcome"] == "allowed"
    }
    reasons = {record["reason"] for record in records(analyst, "--action", "access.reject") if "reason" in record}
    assert {"no contract yet", "ended"} <= reasons
    # Whoever approves may say why too, for the log; and need not.
    approved = [record.get("reason") for record in records(analyst, "--action", "access.approve") if record.get("subject", "").endswith("unlucky")]
    assert approved == [None], approved
    owner.strongroom("access", "reopen", "admin/llm", "--user", "unlucky")
    given = ["--compartments", "docs", "--expires", "1h", "--reason", "contract 7 is signed"]
    owner.strongroom("access", "approve", "admin/llm", "--to", "unlucky", *given)
    assert records(analyst, "--action", "access.approve")[0]["reason"] == "contract 7 is signed"
    owner.strongroom("access", "reject", "admin/llm", "--user", "unlucky", "--reason", "ended again")
    server.stop()
    server.start()
    assert asker.strongroom("access", "mine")["requests"][0]["status"] == "rejected"


@pytest.mark.parametrize("client", ["current", "hf036"])
def test_the_requests_are_handled_with_the_stock_client(server, owner, repo, client):
    names = [f"{client}-{at}" for at in ("one", "two", "three")]
    one, two = (known(server, owner, name) for name in names[:2])
    three = server.person(names[2])
    for person in (one, two):
        assert person.http("POST", ASK, {"for": person.token_id}).status == 200
    told = owner.python(
        "from huggingface_hub import HfApi\n"
        "api, of = HfApi(), " + repr(client) + "\n"
        "mine = lambda rows: sorted((row.username, row.status, sorted(row.fields or [])) for row in rows if row.username.startswith(of))\n"
        "print(mine(api.list_pending_access_requests('admin/llm')))\n"
        f"api.accept_access_request('admin/llm', {names[0]!r})\n"
        f"api.reject_access_request('admin/llm', {names[1]!r}, rejection_reason='not now')\n"
        f"api.grant_access('admin/llm', {names[2]!r})\n"
        "print(mine(api.list_accepted_access_requests('admin/llm')), mine(api.list_rejected_access_requests('admin/llm')))\n"
        "from huggingface_hub.errors import HfHubHTTPError\n"
        "for ask in (lambda: api.accept_access_request('admin/llm', 'nobody-at-all'), lambda: api.accept_access_request('admin/llm', 'analyst')):\n"
        "    try:\n"
        "        ask()\n"
        "    except HfHubHTTPError as error:\n"
        "        print(error.response.status_code)\n",
        client=client,
    )
    assert told.stdout.splitlines() == [
        str([(name, "pending", ["for"]) for name in sorted(names[:2])]),
        f"{[(name, 'accepted', ['for'] if name == names[0] else []) for name in sorted((names[0], names[2]))]} {[(names[1], 'rejected', ['for'])]}",
        "400",
        "409",
    ]
    # What a stock client gives is a week of what it takes to use a model.
    for person in (one, three):
        held = taken(person)
        shown = owner.strongroom("share", "show", held.share_id)
        assert shown["seconds"] == 7 * 86400 and shown["compartments"] == ["docs", "config", "weights"] and not shown["follow"]
        assert held.http("GET", README).status == 200 and held.http("GET", "/admin/llm/resolve/main/train.py").status == 404
    owner.python(f"from huggingface_hub import HfApi\nHfApi().cancel_access_request('admin/llm', {names[0]!r})", client=client)
    assert one.strongroom("access", "mine")["requests"][0]["status"] == "pending"
    assert two.strongroom("access", "mine")["requests"][0]["reason"] == "not now"


def test_a_data_set_is_asked_for_as_a_model_is(server, owner, repo):
    owner.http("POST", "/api/repos/create", {"name": "rows", "organization": "admin", "type": "dataset"})
    commit(owner, "admin/rows", {"README.md": b"# rows", "data/rows.csv": b"a,b\n1,2\n", "run.py": b"x"}, kind="dataset")
    asker = server.person("counter")
    same(asker.http("POST", "/datasets/admin/rows/ask-access", {}), asker.http("POST", "/datasets/admin/no-such/ask-access", {}))
    owner.strongroom("access", "disclose", "admin/rows", "--type", "dataset", "--to", "counter")
    assert asker.http("POST", "/datasets/admin/rows/ask-access", {}).json()["status"] == "pending"
    assert owner.http("POST", "/api/datasets/admin/rows/user-access-request/handle", {"user": "counter", "status": "accepted"}).status == 200
    held = taken(asker, "admin/rows", "--type", "dataset")
    assert held.http("GET", "/datasets/admin/rows/resolve/main/data/rows.csv").body == b"a,b\n1,2\n"
    assert held.http("GET", "/datasets/admin/rows/resolve/main/run.py").status == 404


def test_what_is_asked_of_a_repository_that_is_locked_or_gone_is_asked_of_nothing(server, owner):
    make(owner, "brief", {"README.md": b"words"})
    asker = server.person("late")
    owner.strongroom("access", "disclose", "admin/brief", "--to", "late")
    asker.strongroom("access", "ask", "admin/brief")
    missing = asker.http("POST", "/admin/no-such/ask-access", {})
    owner.strongroom("lock", "add", "--repo", "admin/brief")
    same(asker.http("POST", "/admin/brief/ask-access", {}), missing)
    assert asker.strongroom("access", "mine")["requests"] == []
    owner.strongroom("lock", "remove", "--repo", "admin/brief")
    assert len(asker.strongroom("access", "mine")["requests"]) == 1
    owner.http("DELETE", "/api/repos/delete", {"name": "brief", "organization": "admin"})
    same(asker.http("POST", "/admin/brief/ask-access", {}), missing)
    assert asker.strongroom("access", "mine")["requests"] == [] and "late" not in json.dumps(owner.strongroom("access", "list"))
    asker.strongroom("access", "token", "admin/brief", fails=True)


def test_to_give_weights_to_who_asked_takes_two_as_any_share_of_them(make_server):
    server = make_server()
    owner = server.owner
    make(owner, "llm")
    owner.strongroom("user", "create", "second")
    owner.strongroom("role", "grant", "second", "maintainer", "--namespace", "admin")
    second = Person(server, server.with_token("second").strongroom("token", "claim")["token"], server.folder / "home-second")
    asker = known(server, owner, "asker")
    assert asker.http("POST", ASK, {}).status == 200
    handled = owner.http("POST", "/api/models/admin/llm/user-access-request/handle", {"user": "asker", "status": "accepted"})
    assert handled.status == 403 and handled.headers["X-Error-Code"] == "ApprovalPending"
    assert asker.strongroom("access", "mine")["requests"][0]["status"] == "pending"
    assert owner.strongroom("share", "list")["shares"] == []
    assert "token" not in second.strongroom("approval", "approve", str(handled.json()["approval"]))["done"]
    assert asker.strongroom("access", "mine")["requests"][0]["status"] == "accepted"
    held = taken(asker)
    assert held.http("GET", "/admin/llm/resolve/main/model.safetensors").status == 200
    # Each record about the share has its number, the approval that made it the first.
    about = records(owner, "--share", held.share_id)
    assert sorted(record["share_event"] for record in about) == list(range(1, len(about) + 1))
    assert [record["action"] for record in about if record["share_event"] == 1] == ["approval.approve"]


def test_why_it_was_approved_is_in_the_log_also_where_two_must_agree(make_server):
    server = make_server()
    owner = server.owner
    make(owner, "llm")
    server.second()
    owner.strongroom("role", "grant", "steward", "maintainer", "--namespace", "admin")
    asker = known(server, owner, "asker")
    asker.strongroom("access", "ask", "admin/llm")
    server.agreed("access", "approve", "admin/llm", "--to", "asker", "--compartments", "weights", "--expires", "1h", "--reason", "contract 7")
    [record] = records(owner, "--action", "approval.approve")
    assert record["reason"] == "contract 7" and record["principal"] == "steward"
    assert asker.strongroom("access", "mine")["requests"][0]["status"] == "accepted"


def test_a_stolen_disk_does_not_say_who_asks_for_what(make_server):
    server = make_server()
    owner = server.owner
    make(owner, "llm", {"README.md": b"words"})
    asker = known(server, owner, "wombat-asker")
    asker.strongroom("access", "ask", "admin/llm", "--reason", "dugong research")
    owner.strongroom("access", "reject", "admin/llm", "--user", "wombat-asker", "--reason", "possum policy")
    for path in server.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [word for word in ("wombat", "dugong", "possum") if word.encode() in content] == [], path
