"""The two-person rule: what hurts most takes effect only when a second person with the same right agrees."""

import subprocess
import threading
import time

import pytest

from conftest import Person, commit, policies, waiting
from fleet import fleet_with

FILES = {"README.md": b"words", "model.safetensors": b"weights" * 40, "data/people.csv": b"a,b\n"}


def waits(person, *command):
    """The number under which it waits; nothing was done."""
    refused = person.strongroom(*command, fails=True).stderr
    assert "needs a second person" in refused, refused
    return waiting(refused)


def claimed(server, person):
    """The same person with a token that nobody else has seen."""
    made = person.strongroom("token", "claim")
    return Person(server, made["token"], person.home.parent / f"{person.home.name}-own")


def records(person, *arguments):
    return person.strongroom("audit", "search", "--limit", "500", *arguments)["records"]


def approvals(person, *more):
    return {str(act["id"]): act for act in person.strongroom("approval", "list", *more)["approvals"]}


@pytest.fixture(scope="module")
def house(server, owner):
    """Anna and Otto maintain a repository; Rita reads it; Pia is a partner. Anna and Otto have tokens of their own."""

    class House:
        pass

    house = House()
    house.server, house.admin = server, owner
    owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(owner, "admin/llm", FILES)
    given = server.person("otto", ("maintainer", "admin"))
    house.given = given
    house.anna = claimed(server, server.person("anna", ("maintainer", "admin")))
    house.otto = claimed(server, given)
    house.rita = server.person("rita", ("reader", "admin"))
    server.person("pia")
    return house


SHARE = ["share", "create", "admin/llm@main", "--to", "pia", "--expires", "1h", "--compartments"]


def test_a_share_of_weights_takes_effect_when_a_second_maintainer_approves_it(house):
    number = waits(house.anna, *SHARE, "docs,weights")
    assert house.anna.strongroom("share", "list")["shares"] == []
    # The same wish is the same act.
    assert waits(house.anna, *SHARE, "docs,weights") == number
    for one in (house.anna, house.otto):
        shown = one.strongroom("approval", "show", number)
        assert (shown["what"], shown["by"], shown["state"]) == ("share.create", "anna", "waits")
        assert shown["command"]["Share"]["Create"]["compartments"] == ["docs", "weights"]
    time.sleep(1)
    approved = house.otto.strongroom("approval", "approve", number)
    # The partner's token is not the approver's to see.
    assert "token" not in approved["done"] and approved["done"]["by"] == "anna"
    share = house.anna.strongroom("share", "show", approved["done"]["id"])
    asked = next(one for one in records(house.admin, "--action", "share.create") if one["outcome"] == "pending")
    assert share["created"] > asked["time"], "its life begins when it is approved"
    token = house.anna.strongroom("share", "token", share["id"])["token"]
    partner = Person(house.server, token, house.server.folder / "home-pia")
    assert partner.http("GET", "/admin/llm/resolve/main/model.safetensors").body == FILES["model.safetensors"]
    assert house.anna.strongroom("approval", "show", number)["state"] == "approved"
    assert "approved already" in house.otto.strongroom("approval", "approve", number, fails=True).stderr
    found = records(house.admin, "--action", "approval.approve", "--principal", "otto")
    assert any(one["outcome"] == "allowed" and f"approval {number}, asked by anna" in one["subject"] for one in found)


def test_a_share_of_what_hurts_less_does_not_wait(house):
    assert house.anna.strongroom(*SHARE, "docs,config")["token"]


def test_whoever_asked_does_not_approve_with_any_token_they_have_had(house):
    number = waits(house.anna, *SHARE, "data")
    assert "whoever asked" in house.anna.strongroom("approval", "approve", number, fails=True).stderr
    # Another of her tokens, and one that somebody else made for her.
    other = claimed(house.server, house.anna)
    for one in (other, house.server.with_token("anna")):
        assert "whoever asked" in one.strongroom("approval", "approve", number, fails=True).stderr
    house.anna = other
    # An administrator's hands, in the name of another: the token of Otto that the administrator made.
    asked = waits(house.admin, *SHARE, "data")
    sock = house.server.with_token("otto")
    refused = sock.strongroom("approval", "approve", asked, fails=True).stderr
    assert "hands of admin" in refused and "token claim" in refused
    # Nor is that token exchanged for a clean one: Otto has claimed already, and would miss it.
    assert "claimed on" in sock.strongroom("token", "claim", fails=True).stderr
    assert house.admin.strongroom("approval", "show", asked)["state"] == "waits"
    # Nor for what somebody else asked: the administrator, who may share nothing of it, would be Otto to Anna. Nor is a machine's token Otto.
    narrowed = house.server.with_token("otto", "repo:admin/llm")
    for one in (sock, narrowed):
        refused = one.strongroom("approval", "approve", number, fails=True).stderr
        assert "a token of your own" in refused and "token claim" in refused
    assert house.anna.strongroom("approval", "show", number)["state"] == "waits"
    house.otto.strongroom("approval", "approve", asked)
    house.otto.strongroom("approval", "reject", number, "--reason", "not needed")


def test_who_may_not_do_the_same_neither_sees_nor_approves_it(house):
    number = waits(house.anna, *SHARE, "data")
    stranger = house.server.person("a-stranger", ("owner", "elsewhere"))
    for one in (house.rita, stranger):
        assert one.strongroom("approval", "list")["approvals"] == []
        for verb in (["approve", number], ["show", number], ["reject", number, "--reason", "x"]):
            missing = [verb[0], "4711", *verb[2:]]
            there, absent = (one.strongroom("approval", *words, fails=True).stderr for words in (verb, missing))
            assert there == absent
    # A maintainer who does not read data shares none, and approves none.
    narrow = claimed(house.server, house.server.person("narrow", ("maintainer", "admin")))
    house.admin.strongroom("role", "deny", "narrow", "repo.read", "--compartment", "data", "--namespace", "admin")
    assert narrow.strongroom("approval", "list")["approvals"] == []
    narrow.strongroom("approval", "approve", number, fails=True)
    # Nor does a token that is narrowed to something else.
    docs = house.server.with_token("otto", "compartment:docs")
    docs.strongroom("approval", "approve", number, fails=True)
    assert number in approvals(house.otto)
    house.anna.strongroom("approval", "reject", number, "--reason", "taken back")
    assert number not in approvals(house.otto) and approvals(house.otto, "--all")[number]["state"] == "rejected"
    assert "rejected already" in house.otto.strongroom("approval", "approve", number, fails=True).stderr
    found = records(house.admin, "--action", "approval.reject", "--principal", "anna")
    assert found[0]["reason"] == "taken back"


def test_to_prolong_such_a_share_waits_too(house):
    made = house.otto.strongroom("approval", "approve", waits(house.anna, *SHARE, "weights", "--max-downloads", "7"))["done"]
    before = house.anna.strongroom("share", "show", made["id"])["ends"]
    number = waits(house.anna, "share", "extend", made["id"], "--expires", "2d")
    assert house.anna.strongroom("share", "show", made["id"])["ends"] == before
    house.otto.strongroom("approval", "approve", number)
    longer = house.anna.strongroom("share", "show", made["id"])["ends"]
    assert longer > before
    # To shorten it, one is enough, and to end it.
    assert house.anna.strongroom("share", "extend", made["id"], "--expires", "1d")["ends"] < longer
    assert waits(house.anna, "share", "extend", made["id"], "--expires", "2d")
    house.anna.strongroom("share", "revoke", made["id"])


def test_what_whoever_asked_may_do_no_longer_is_not_done_in_their_name(house):
    brief = claimed(house.server, house.server.person("brief", ("maintainer", "admin")))
    number = waits(brief, *SHARE, "weights")
    house.admin.strongroom("role", "revoke", "brief", "maintainer", "--namespace", "admin")
    assert "no longer" in house.otto.strongroom("approval", "approve", number, fails=True).stderr
    house.admin.strongroom("role", "grant", "brief", "maintainer", "--namespace", "admin")
    house.admin.strongroom("lock", "add", "--user", "brief", "--reason", "stolen laptop")
    assert "no longer" in house.otto.strongroom("approval", "approve", number, fails=True).stderr
    assert all(share["by"] != "brief" for share in house.anna.strongroom("share", "list")["shares"])


def test_what_waits_is_there_after_a_restart(house):
    number = waits(house.anna, *SHARE, "weights", "--max-downloads", "3")
    house.server.stop()
    house.server.start()
    assert house.otto.strongroom("approval", "approve", number)["done"]["max_downloads"] == 3


def test_roles_that_decide_over_others_are_given_by_two_from_the_second_administrator_on(make_server):
    server = make_server()
    first = server.owner
    server.person("bob"), server.person("mallory")
    # The first administrator has nobody to ask.
    first.strongroom("role", "grant", "bob", "admin", "--system")
    bob = claimed(server, server.with_token("bob"))
    for role, where in (("admin", ["--system"]), ("security", ["--system"]), ("owner", ["--namespace", "admin"])):
        number = waits(first, "role", "grant", "mallory", role, *where)
        bob.strongroom("approval", "reject", number, "--reason", "no")
    # What such a role alone may do is as much as the role.
    for action in ("role.manage", "user.manage", "token.manage", "lock.manage", "key.recover"):
        compartment = ["--compartment", "docs"] if action == "key.recover" else []
        waits(first, "role", "allow", "mallory", action, "--system", *compartment)
    first.strongroom("role", "deny", "bob", "user.manage", "--system")
    waits(first, "role", "deny", "bob", "user.manage", "--system", "--remove")
    # To read or write is not among them, nor is a namespace that is founded so.
    first.strongroom("role", "grant", "mallory", "reader", "--namespace", "admin")
    first.strongroom("role", "grant", "mallory", "owner", "--namespace", "mallory")
    # Nobody gets rid of the second one alone, and is alone again.
    removal = waits(first, "user", "remove", "bob")
    demotion = waits(first, "role", "revoke", "bob", "admin", "--system")
    waits(first, "role", "deny", "bob", "role.manage", "--system")
    first.strongroom("lock", "add", "--user", "bob", "--reason", "to be alone")
    waits(first, "role", "grant", "mallory", "admin", "--system")
    first.strongroom("lock", "remove", "--user", "bob")
    assert {removal, demotion} <= set(approvals(first))
    number = waits(first, "role", "grant", "mallory", "security", "--system")
    bob.strongroom("approval", "approve", number)
    roles = first.strongroom("user", "show", "mallory")["roles"]
    assert [role["role"] for role in roles if role["place"] == "system"] == ["security"]
    effect = next(one for one in records(first, "--action", "approval.approve") if one["outcome"] == "allowed")
    assert "security to mallory" in effect["subject"]


def test_what_nobody_approves_in_time_is_over(make_server, tmp_path):
    server = make_server(policies(tmp_path / "policies", wait_s=2))
    first = server.owner
    server.person("bob"), server.person("carla")
    first.strongroom("role", "grant", "bob", "admin", "--system")
    bob = claimed(server, server.with_token("bob"))
    number = waits(first, "role", "grant", "carla", "admin", "--system")
    time.sleep(4)
    assert approvals(bob) == {} and approvals(bob, "--all")[number]["state"] == "expired"
    assert "expired already" in bob.strongroom("approval", "approve", number, fails=True).stderr
    assert first.strongroom("user", "show", "carla")["roles"] == []
    ended = records(first, "--action", "approval.expire")
    assert [one["subject"] for one in ended] == [f"approval {number}, asked by admin"]
    again = waits(first, "role", "grant", "carla", "admin", "--system")
    assert again != number
    bob.strongroom("approval", "approve", again)


def test_a_repository_is_deleted_by_two_where_two_may(make_server, tmp_path):
    server = make_server(policies(tmp_path / "policies", window_s=4))
    first = server.owner
    for name in ("alone", "llm", "other"):
        first.http("POST", "/api/repos/create", {"name": name, "organization": "admin"})
    delete = "import huggingface_hub; huggingface_hub.HfApi().delete_repo('admin/{}')"
    first.python(delete.format("alone"))
    second = server.person("second", ("owner", "admin"))
    refused = first.http("DELETE", "/api/repos/delete", {"name": "llm", "organization": "admin"})
    assert refused.status == 403 and refused.headers["X-Error-Code"] == "ApprovalPending"
    number = str(refused.json()["approval"])
    assert "needs a second person" in first.python(delete.format("llm"), fails=True).stderr
    assert first.http("GET", "/api/models/admin/llm").status == 200
    second = claimed(server, second)
    second.strongroom("approval", "approve", number)
    # For whoever asked, for this repository.
    assert second.http("DELETE", "/api/repos/delete", {"name": "llm", "organization": "admin"}).status == 403
    assert first.http("DELETE", "/api/repos/delete", {"name": "other", "organization": "admin"}).status == 403
    first.python(delete.format("llm"))
    assert first.http("GET", "/api/models/admin/llm").status == 404
    # And not for ever.
    late = str(first.http("DELETE", "/api/repos/delete", {"name": "other", "organization": "admin"}).json()["approval"])
    second.strongroom("approval", "approve", late)
    time.sleep(4.5)
    refused = first.http("DELETE", "/api/repos/delete", {"name": "other", "organization": "admin"})
    assert refused.status == 403 and str(refused.json()["approval"]) != late


def move(person, name, to):
    return person.http("POST", "/api/repos/move", {"fromRepo": f"admin/{name}", "toRepo": to})


def test_to_move_a_repository_out_of_its_namespace_takes_what_its_deletion_takes(make_server):
    server = make_server()
    first = server.owner
    for name in ("alone", "llm", "other"):
        first.http("POST", "/api/repos/create", {"name": name, "organization": "admin"})
    commit(first, "admin/llm", FILES)
    maintainer = server.person("maintainer", ("maintainer", "admin"), ("owner", "maintainer"))
    refused = move(maintainer, "llm", "maintainer/llm")
    assert refused.status == 403 and "repo.delete" in refused.json()["error"]
    maintainer.strongroom("repo", "move", "admin/llm", "maintainer/llm", fails=True)
    assert first.http("GET", "/api/models/maintainer/llm").status == 404
    # Within its namespace it is renamed as before, and whoever deletes alone moves alone.
    first.strongroom("role", "grant", "admin", "owner", "--namespace", "elsewhere")
    first.strongroom("role", "grant", "maintainer", "owner", "--repo", "admin/other")
    assert move(maintainer, "other", "maintainer/other").headers["X-Error-Code"] == "ApprovalPending"
    first.python("import huggingface_hub; huggingface_hub.HfApi().move_repo('admin/alone', 'elsewhere/alone')")
    assert first.http("GET", "/api/models/elsewhere/alone").json()["id"] == "elsewhere/alone"
    second = claimed(server, server.person("second", ("owner", "admin"), ("owner", "second")))
    assert move(second, "llm", "admin/model").status == 200 == move(second, "model", "admin/llm").status
    refused = move(second, "llm", "second/llm")
    assert refused.status == 403 and refused.headers["X-Error-Code"] == "ApprovalPending"
    number = str(refused.json()["approval"])
    assert waits(second, "repo", "move", "admin/llm", "second/llm") == number
    assert first.strongroom("approval", "show", number)["what"] == "repo.move model admin/llm to second/llm"
    assert number not in approvals(maintainer) and "whoever asked" in second.strongroom("approval", "approve", number, fails=True).stderr
    assert first.http("GET", "/api/models/admin/llm").json()["id"] == "admin/llm"
    first.strongroom("approval", "approve", number)
    # To that name, by whoever asked.
    assert move(second, "llm", "second/another").headers["X-Error-Code"] == "ApprovalPending"
    assert move(first, "llm", "elsewhere/llm").status == 403
    second.python("import huggingface_hub; huggingface_hub.HfApi().move_repo('admin/llm', 'second/llm')")
    assert second.http("GET", "/api/models/second/llm").json()["id"] == "second/llm"
    assert first.http("GET", "/api/models/second/llm").status == 404, "its people have lost it"


def test_no_move_takes_a_repository_from_under_a_denial(make_server):
    server = make_server()
    first = server.owner
    first.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(first, "admin/llm", FILES)
    first.strongroom("role", "grant", "admin", "owner", "--namespace", "lab")
    reader = server.person("denied", ("reader", "admin"), ("reader", "lab"))
    deny = ["role", "deny", "denied", "repo.read", "--compartment", "data"]
    read = lambda name, path: reader.http("GET", f"/{name}/resolve/main/{path}").status
    first.strongroom(*deny, "--namespace", "admin")
    assert read("admin/llm", "README.md") == 200 and read("admin/llm", "data/people.csv") == 404
    refused = move(first, "llm", "lab/llm")
    assert refused.status == 409 and "role deny" in refused.json()["error"] and "denied" not in refused.json()["error"].split("denial")[0]
    [record] = records(first, "--action", "repo.move", "--outcome", "denied")
    assert record["reason"].endswith("repo.read to denied")
    first.strongroom(*deny, "--repo", "admin/llm")
    assert move(first, "llm", "lab/llm").status == 200
    assert read("lab/llm", "README.md") == 200 and read("lab/llm", "data/people.csv") == 404
    # One that stands where it goes is enough.
    first.strongroom(*deny, "--namespace", "lab")
    first.strongroom(*deny, "--repo", "lab/llm", "--remove")
    assert first.http("POST", "/api/repos/move", {"fromRepo": "lab/llm", "toRepo": "admin/llm"}).status == 200
    assert read("admin/llm", "data/people.csv") == 404
    # And where none is left, nothing holds it.
    first.strongroom(*deny, "--namespace", "lab", "--remove")
    assert move(first, "llm", "lab/llm").status == 409
    first.strongroom(*deny, "--namespace", "admin", "--remove")
    assert move(first, "llm", "lab/llm").status == 200


def test_break_glass_needs_two_who_may_break_it(make_server, tmp_path):
    server = make_server(policies(tmp_path / "policies", window_s=4))
    first = server.owner
    first.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(first, "admin/llm", {**FILES, "more.safetensors": b"more weights"})
    breaker, other, reader = (server.person(name) for name in ("breaker", "other", "reader"))
    for name in ("breaker", "other"):
        first.strongroom("role", "allow", name, "key.recover", "--compartment", "weights", "--namespace", "admin")
    out, identity = tmp_path / "out.age", tmp_path / "identity.txt"
    recover = ["key", "recover", "--repo", "admin/llm", "--path", "model.safetensors", "--out", out, "--identity-out", identity]
    number = waits(breaker, *recover)
    assert not out.exists()
    other = claimed(server, other)
    told = other.strongroom("approval", "show", number)["what"]
    assert told == "key.recover model admin/llm: model.safetensors at main, in one of: weights"
    assert number not in approvals(reader)
    reader.strongroom("approval", "approve", number, fails=True)
    waits(breaker, *recover)
    other.strongroom("approval", "approve", number)
    # What was approved is that path at that revision, and nothing else that lies with it.
    where = ["--out", tmp_path / "more.age", "--identity-out", tmp_path / "more.txt"]
    another = waits(breaker, "key", "recover", "--repo", "admin/llm", "--path", "more.safetensors", *where)
    at = first.http("GET", "/api/models/admin/llm").json()["sha"]
    elsewhere = waits(breaker, "key", "recover", "--repo", "admin/llm", "--revision", at, "--path", "model.safetensors", *where)
    assert len({number, another, elsewhere}) == 3 and not (tmp_path / "more.age").exists()
    breaker.strongroom(*recover)
    opened = subprocess.run(["age", "-d", "-i", identity, out], capture_output=True, check=True).stdout
    assert opened == FILES["model.safetensors"]
    # The other one has agreed, and not asked.
    out.unlink(), identity.unlink()
    waits(other, *recover)
    time.sleep(4.5)
    assert waits(breaker, *recover) != number


def test_a_token_is_exchanged_once_and_whoever_does_it_in_anothers_place_is_found_out(make_server):
    server = make_server()
    first = server.owner
    handed = server.person("carla", ("reader", "admin"))
    shown = first.strongroom("token", "list", "--user", "carla")["tokens"]
    assert [token["seen_by"] for token in shown] == ["admin"]
    # A narrowed token, as a machine has one, does not speak for its principal.
    machine = server.with_token("carla", "action:repo.read")
    assert "narrowed" in machine.strongroom("token", "claim", fails=True).stderr
    second = server.with_token("carla")
    stolen = claimed(server, second)
    assert stolen.http("GET", "/api/whoami-v2").status == 200 and second.http("GET", "/api/whoami-v2").status == 401
    refused = handed.strongroom("token", "claim", fails=True).stderr
    assert "claimed on" in refused and "tell security" in refused
    assert first.strongroom("user", "show", "carla")["claimed"]
    # What has been in nobody's hands is exchanged at any time, and lives as long as the one before.
    renewed = claimed(server, stolen)
    assert stolen.http("GET", "/api/whoami-v2").status == 401 and renewed.http("GET", "/api/whoami-v2").status == 200
    # A token that is made with one that others have seen has been in their hands too.
    first.strongroom("role", "grant", "carla", "admin", "--system")
    child = handed.strongroom("token", "create", "--user", "carla")
    assert child["seen_by"] == "admin"
    assert renewed.strongroom("token", "create", "--user", "carla")["seen_by"] == ""
    # To have it claimed anew is an act of two.
    number = waits(first, "user", "unclaim", "carla")
    renewed.strongroom("approval", "approve", number)
    assert claimed(server, handed).http("GET", "/api/whoami-v2").status == 200


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    yield from fleet_with(tmp_path_factory, "llm", FILES)


def test_an_act_that_two_replicas_approve_at_once_takes_effect_once(fleet):
    first, people = fleet.owner, []
    for name in ("anna", "otto", "pavel"):
        people.append(claimed(fleet, fleet.person(name, ("maintainer", "admin"))))
    fleet.person("pia")
    anna, *approvers = people
    for turn in range(6):
        number = waits(fleet.at(anna, fleet.servers[turn % 2]), *SHARE, "weights", "--max-downloads", str(turn + 1))
        told, ready = [], threading.Barrier(4)

        def approve(person, server):
            ready.wait()
            told.append(fleet.at(person, server).http("POST", "/api/strongroom/v1/approval", {"Approval": {"Approve": {"id": int(number)}}}))

        doers = [threading.Thread(target=approve, args=(person, server)) for person in approvers for server in fleet.servers]
        [doer.start() for doer in doers]
        [doer.join() for doer in doers]
        assert sorted(answer.status for answer in told) == [200, 409, 409, 409], [answer.body for answer in told]
        made = [share for share in first.strongroom("share", "list")["shares"] if share["max_downloads"] == turn + 1]
        assert len(made) == 1
    done = [one for one in records(first, "--action", "approval.approve") if one["outcome"] == "allowed" and one["principal"] in ("otto", "pavel")]
    assert len(done) == 6
