"""Partner organisations: named people who are here through one organisation, for which somebody inside stands, and confirms it
again or it is over. Told with sponsor, two people of the partner, owner, officer, stranger and analyst."""

import os
import threading
import time
from datetime import datetime

import pytest

from conftest import PROGRAM, STORES, Person, Server, commit, policies
from fleet import fleet_with
from test_promises import SlowDownload
from test_shares import CONFIG, DOCS, make, records, same

README = "/admin/llm/resolve/main/README.md"
LONG = "/admin/long/resolve/main/long.md"
SIZE = 12_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Here one person is enough for a share of weights; that two are needed is told at the end."""
    folder = tmp_path_factory.mktemp("server")
    made = Server(folder, policies(folder / "policies", share=[]))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def repo(owner):
    owner.http("POST", "/api/repos/create", {"name": "long", "organization": "admin"})
    commit(owner, "admin/long", {"long.md": os.urandom(SIZE), "README.md": b"short"})
    return make(owner, "llm")[1]


@pytest.fixture(scope="module")
def analyst(server):
    return server.person("analyst", ("auditor", None))


@pytest.fixture(scope="module")
def officer(server):
    return server.person("officer", ("security", None))


def own(person):
    """With a token that nobody else has seen."""
    claimed = Person(person.server, person.strongroom("token", "claim")["token"], person.home)
    return claimed


class Room:
    """A partner organisation with two people, whose tokens of its share they took themselves."""

    def __init__(self, server, name, *more, people=2, at="admin/llm@main", shared=("--compartments", "docs,config")):
        owner = server.owner
        self.server, self.name = server, name
        self.sponsor = own(server.person(f"{name}-sponsor"))
        self.made = owner.strongroom("partner", "create", name, "--sponsor", f"{name}-sponsor", *more)
        self.plain = [server.person(f"{name}-{number}") for number in range(people)]
        for number in range(people):
            owner.strongroom("partner", "add", name, f"{name}-{number}")
        self.share = str(owner.strongroom("share", "create", at, "--to", name, "--expires", "1h", *shared)["id"])
        self.people = [self.take(person, at.split("@")[0]) for person in self.plain]

    def take(self, person, repo="admin/llm"):
        made = person.strongroom("access", "token", repo)
        held = Person(person.server, made["token"], person.server.folder / f"home-taken-{made['token_id']}")
        held.token_id, held.share_id = made["token_id"], str(made["share"])
        return held

    def shown(self, person=None):
        return (person or self.sponsor).strongroom("partner", "show", self.name)


def readable(server, words):
    """Those of the words that are in a file of the server, or of its database."""
    folders = [server.data, *([STORES.postgres.folder / "data"] if STORES.postgres else [])]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [(path, word) for path in files for content in [path.read_bytes()] for word in words if word.encode() in content]


def moment(text):
    return datetime.fromisoformat(text).timestamp()


def ended(download, within=1.0):
    """Not a byte more after that, though the client reads on."""
    time.sleep(within)
    arrived = download.bytes
    time.sleep(1)
    return download.bytes == arrived < SIZE


# What a partner has


@pytest.mark.parametrize("client", ["current", "hf036"])
def test_the_people_of_a_partner_fetch_what_is_shared_with_it_each_with_a_token_of_their_own(server, repo, analyst, tmp_path, client):
    room = Room(server, f"fetching-{client}", at=f"admin/llm@{repo}")
    for at, person in enumerate(room.people):
        folder = tmp_path / str(at)
        person.python(f"from huggingface_hub import snapshot_download\nsnapshot_download('admin/llm', local_dir={str(folder)!r})", client=client)
        got = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert {path: content for path, content in got.items() if not path.startswith(".cache")} == {**DOCS, **CONFIG}
    # The log names the person, not the organisation.
    opened = records(analyst, "--share", room.share, "--action", "object.open")
    assert {record["principal"] for record in opened} == {f"{room.name}-0", f"{room.name}-1"}
    of = {person.token_id: f"{room.name}-{at}" for at, person in enumerate(room.people)}
    assert all(of[record["token"]] == record["principal"] for record in opened)
    by = records(analyst, "--partner", room.name, "--action", "object.open")
    assert {record["principal"] for record in by} == set(of.values()) and len(by) == len(opened)
    assert records(analyst, "--partner", "no-such-partner") == []
    # Their own tokens read nothing of it, nor does a token of the share read anything else.
    for plain, held in zip(room.plain, room.people):
        assert plain.http("GET", README).status == 404
        assert held.http("GET", "/admin/llm/resolve/main/model.safetensors").status == 404
        same(held.http("GET", LONG), held.http("GET", "/admin/no-such/resolve/main/long.md"))
    can = [each for each in analyst.strongroom("audit", "who", "admin/llm")["can"] if each.get("share") == int(room.share)]
    assert {each["principal"] for each in can} == set(of.values()) and all(f"with partner {room.name}" in each["by"][0] for each in can)
    mine = room.plain[0].strongroom("access", "mine")
    assert mine["partner"] == room.name and [each["share"] for each in mine["shares"]] == [int(room.share)]


def test_who_comes_to_a_partner_later_learns_no_name_of_what_it_had_before(server, owner, repo):
    make(owner, "gone-by", {"README.md": b"words"})
    room = Room(server, "turning", at="admin/gone-by@main", shared=("--compartments", "docs"))
    owner.strongroom("share", "revoke", room.share)
    owner.strongroom("repo", "move", "admin/gone-by", "admin/wombat")
    later = server.person("turning-later")
    owner.strongroom("partner", "add", "turning", "turning-later")
    for person in (later, room.plain[0]):
        assert person.strongroom("access", "mine")["shares"] == []
        told = [person.strongroom("access", "token", name, fails=True).stderr for name in ("admin/wombat", "admin/gone-by", "admin/no-such")]
        assert told[0] == told[1] == told[2]


def test_what_a_share_allows_is_counted_for_all_people_of_a_partner_together_and_terms_for_each(server, owner, repo, tmp_path):
    terms = tmp_path / "terms.txt"
    terms.write_text("Do not pass it on.")
    shared = ("--compartments", "docs", "--max-downloads", "3", "--terms", terms)
    room = Room(server, "counted", at="admin/long@main", shared=shared)
    one, other = room.people
    read = lambda person: person.http("GET", "/admin/long/resolve/main/README.md").status
    assert [read(one), read(other)] == [403, 403], "nobody accepted"
    one.strongroom("share", "accept", "--yes")
    assert [read(one), read(other)] == [200, 403], "each for themselves"
    other.strongroom("share", "accept", "--yes")
    assert [read(other), read(one), read(other), read(one)] == [200, 200, 429, 429], "three in all"
    shown = owner.strongroom("share", "show", room.share)
    assert shown["used_downloads"] == 3 and shown["to"] == "counted" and shown["partner"] is True
    assert [each["user"] for each in shown["accepted"]] == ["counted-0", "counted-1"]
    server.stop()
    server.start()
    assert [each["user"] for each in owner.strongroom("share", "show", room.share)["accepted"]] == ["counted-0", "counted-1"]
    # Whoever shares it makes a token for a person by name, and for nobody who is none of the partner's.
    owner.strongroom("share", "token", room.share, fails=True)
    assert "not shared with them" in owner.strongroom("share", "token", room.share, "--user", "counted-sponsor", fails=True).stderr
    assert read(Person(server, owner.strongroom("share", "token", room.share, "--user", "counted-1")["token"], tmp_path / "home")) == 429


def test_whoever_is_removed_from_a_partner_loses_what_it_has_at_once_and_the_others_keep_it(server, owner, repo, analyst):
    room = Room(server, "removing", at="admin/long@main", shared=("--compartments", "docs"))
    one, other = room.people
    unknown = Person(server, "srt_" + "A" * 49, server.folder / "home-nobody")
    leaving, staying = SlowDownload(one, LONG), SlowDownload(other, LONG)
    room.sponsor.strongroom("partner", "remove", "removing", "removing-0")
    same(one.http("GET", LONG), unknown.http("GET", LONG))
    assert ended(leaving)
    before = staying.bytes
    time.sleep(1)
    assert staying.bytes > before, "the other one reads on"
    hidden, missing = (room.plain[0].strongroom("access", "token", name, fails=True) for name in ("admin/long", "admin/no-such"))
    assert hidden.stderr == missing.stderr
    assert [each["user"] for each in room.shown()["members"]] == ["removing-1"]
    reasons = {record["reason"] for record in records(analyst, "--token", str(one.token_id), "--outcome", "denied")}
    assert reasons == {"no longer of the share's partner organisation"}
    # They are somebody like others again, and may become one of another's people.
    assert room.plain[0].http("GET", "/api/whoami-v2").status == 200


def test_access_is_approved_for_whoever_asked_or_for_their_whole_organisation(server, owner, repo):
    room = Room(server, "asking", people=3, at="admin/long@main", shared=("--compartments", "docs"))
    asker, colleague, third = room.plain
    for person in ("asking-0", "asking-2"):
        owner.strongroom("access", "disclose", "admin/llm", "--to", person)
    asker.strongroom("access", "ask", "admin/llm", "--reason", "evaluation")
    third.strongroom("access", "ask", "admin/llm", "--reason", "me too")
    given = ["--compartments", "docs", "--expires", "1h"]
    told = owner.strongroom("access", "approve", "admin/llm@main", "--to", "asking-2", *given)
    assert told["to"] == "asking-2" and told["partner"] is False
    assert colleague.strongroom("access", "token", "admin/llm", fails=True).stderr == colleague.strongroom("access", "token", "admin/no-such", fails=True).stderr
    told = owner.strongroom("access", "approve", "admin/llm@main", "--to", "asking-0", "--partner", *given)
    assert told["to"] == "asking" and told["partner"] is True and "token" not in told
    for person in (asker, colleague):
        assert room.take(person).http("GET", README).body == DOCS["README.md"]
    # What is taken back is taken back from all of them; what was one's own stays.
    own_share = room.take(third)
    owner.strongroom("access", "reject", "admin/llm", "--user", "asking-0", "--reason", "over")
    assert owner.strongroom("share", "show", str(told["id"]))["state"] == "share revoked"
    assert colleague.strongroom("access", "token", "admin/llm", fails=True).returncode == 1
    assert own_share.http("GET", README).status == 200
    # Who is no partner's has no organisation to approve for.
    lonely = server.person("lonely")
    owner.strongroom("access", "disclose", "admin/llm", "--to", "lonely")
    lonely.strongroom("access", "ask", "admin/llm")
    assert "no partner organisation" in owner.strongroom("access", "approve", "admin/llm@main", "--to", "lonely", "--partner", *given, fails=True).stderr


def test_what_the_people_of_an_organisation_asked_for_is_decided_for_all_of_them(server, owner, repo, analyst):
    room = Room(server, "crowd", people=3, at="admin/long@main", shared=("--compartments", "docs"))
    lonely = server.person("not-of-the-crowd")
    everybody = {**{f"crowd-{at}": person for at, person in enumerate(room.plain)}, "not-of-the-crowd": lonely}
    for name in everybody:
        owner.strongroom("access", "disclose", "admin/llm", "--to", name)
    given = ["--compartments", "docs", "--expires", "1h"]
    decide = {"approve": ["access", "approve", "admin/llm@main", "--partner", *given, "--to"],
              "reject": ["access", "reject", "admin/llm", "--partner", "--reason", "no contract", "--user"]}
    # Nobody of them asked: there is nothing to decide.
    for command in decide.values():
        assert "no request of crowd waits" in owner.strongroom(*command, "crowd", fails=True).stderr
        assert "no partner organisation" in owner.strongroom(*command, "not-of-the-crowd", fails=True).stderr
        assert "no user is called" in owner.strongroom(*command, "no-such-crowd", fails=True).stderr
    ask = lambda name: everybody[name].strongroom("access", "ask", "admin/llm")
    mine = lambda name: everybody[name].strongroom("access", "mine")["requests"]
    ask("crowd-0"), ask("crowd-1"), ask("not-of-the-crowd")
    told = owner.strongroom(*decide["reject"], "crowd")
    assert told["partner"] == "crowd" and [(row["user"], row["status"]) for row in told["requests"]] == [("crowd-0", "rejected"), ("crowd-1", "rejected")]
    for name in ("crowd-0", "crowd-1"):
        assert (mine(name)[0]["status"], mine(name)[0]["reason"]) == ("rejected", "no contract")
    assert mine("not-of-the-crowd")[0]["status"] == "pending" and mine("crowd-2") == []
    [record] = [record for record in records(analyst, "--action", "access.reject") if record.get("subject") == "partner crowd: crowd-0, crowd-1"]
    assert record["reason"] == "no contract" and record["outcome"] == "allowed"
    # What was decided stays: by any of them, only what waits is decided.
    ask("crowd-2")
    told = owner.strongroom(*decide["approve"], "crowd", "--reason", "contract 7")
    assert told["to"] == "crowd" and told["partner"] is True and len(told["requests"]) == 1 and "token" not in told
    assert mine("crowd-2")[0]["share"] == told["id"] and mine("crowd-0")[0]["status"] == "rejected"
    [record] = [record for record in records(analyst, "--action", "access.approve") if record.get("reason") == "contract 7"]
    assert record["subject"] == f"share {told['id']} with partner crowd: crowd-2"
    owner.strongroom("share", "revoke", str(told["id"]))
    # One of them may be named in its place; and then theirs must wait, as ever.
    for name in ("crowd-0", "crowd-1"):
        owner.strongroom("access", "reopen", "admin/llm", "--user", name)
    told = owner.strongroom(*decide["approve"], "crowd-1")
    assert {mine(name)[0]["share"] for name in ("crowd-0", "crowd-1")} == {told["id"]} and len(told["requests"]) == 2
    assert "already" in owner.strongroom(*decide["approve"], "crowd-0", fails=True).stderr
    assert room.take(room.plain[0]).http("GET", README).body == DOCS["README.md"]
    assert mine("not-of-the-crowd")[0]["status"] == "pending"
    # Who does not manage its shares decides for nobody.
    for command in decide.values():
        server.person(f"mere-{command[1]}", ("reader", "admin")).strongroom(*command, "crowd", fails=True)
    owner.strongroom("share", "revoke", str(told["id"]))


# As long as it is confirmed


def test_a_partner_that_nobody_confirms_is_over_at_that_moment_with_downloads_under_way_and_comes_back_when_its_sponsor_says_so(
    server, owner, repo, analyst
):
    room = Room(server, "lapsing", "--recertify", "12s", at="admin/long@main", shared=("--compartments", "docs"))
    server.owner.strongroom("role", "grant", "lapsing-1", "reader", "--repo", "admin/llm")
    read = lambda: [room.people[0].http("GET", "/admin/long/resolve/main/README.md").status, room.plain[1].http("GET", README).status]
    assert read() == [200, 200] and room.shown()["state"] == "active"
    due = moment(room.shown()["due"])
    stranger = server.person("beside", ("reader", "admin/long"))
    time.sleep(max(0, due - 2 - time.time()))
    assert time.time() < due - 1, "too slow a machine for this test"
    through, by_role = SlowDownload(room.people[0], LONG), SlowDownload(stranger, LONG)
    time.sleep(max(0, due - 0.2 - time.time()))
    before = through.bytes
    time.sleep(max(0, due + 1 - time.time()))
    arrived = through.bytes
    time.sleep(0.7)
    assert 0 < before <= arrived == through.bytes < SIZE
    moved = by_role.bytes
    # What they hold otherwise, they do not use either: they are here through it.
    assert read() == [401, 401]
    unknown = Person(server, "srt_" + "A" * 49, server.folder / "home-nobody")
    for person in (*room.people, *room.plain):
        same(person.http("GET", README), unknown.http("GET", README))
    time.sleep(1)
    assert by_role.bytes > moved, "a stranger's goes on"
    over = "partner organisation not confirmed by its sponsor"
    assert room.shown()["state"] == over and owner.strongroom("share", "show", room.share)["state"] == over
    assert over in owner.strongroom("share", "create", "admin/llm@main", "--to", "lapsing", "--compartments", "docs", "--expires", "1h", fails=True).stderr
    assert {record["reason"] for record in records(analyst, "--token", str(room.people[0].token_id), "--outcome", "denied")} == {over}
    lapses = lambda: [record["subject"] for record in records(analyst, "--action", "partner.lapse")]
    until = time.monotonic() + 5
    while not lapses():
        assert time.monotonic() < until
        time.sleep(0.1)
    server.stop()
    server.start()
    time.sleep(1.5)
    assert lapses() == ["partner lapsing"], "once"
    # Its sponsor alone lets it go on: not an administrator, nor with a token that one has seen; not its people, who are not
    # even heard.
    assert "sponsor alone" in owner.strongroom("partner", "confirm", "lapsing", fails=True).stderr
    assert "claim" in server.with_token("lapsing-sponsor").strongroom("partner", "confirm", "lapsing", fails=True).stderr
    room.plain[0].strongroom("partner", "confirm", "lapsing", fails=True)
    assert read() == [401, 401]
    assert moment(room.sponsor.strongroom("partner", "confirm", "lapsing")["due"]) > time.time() + 8
    assert read() == [200, 200]


def test_a_partner_holds_no_longer_than_its_sponsor_and_another_sponsor_confirms_nothing(server, owner, repo, officer):
    room = Room(server, "orphaned", "--recertify", "1h", at="admin/long@main", shared=("--compartments", "docs"))
    read = lambda: room.people[0].http("GET", "/admin/long/resolve/main/README.md").status
    due = room.shown()["due"]
    officer.strongroom("lock", "add", "--user", "orphaned-sponsor")
    assert read() == 401
    officer.strongroom("lock", "remove", "--user", "orphaned-sponsor")
    assert read() == 200
    owner.strongroom("user", "remove", "orphaned-sponsor")
    assert read() == 401 and room.shown(owner)["state"] == "partner organisation's sponsor removed"
    heir = own(server.person("heir"))
    assert owner.strongroom("partner", "sponsor", "orphaned", "heir")["due"] == due
    assert read() == 200
    assert heir.strongroom("partner", "confirm", "orphaned")["due"] > due
    # An end is for good, and takes all that its people could do here.
    plain = room.plain[1]
    owner.strongroom("role", "grant", "orphaned-1", "reader", "--repo", "admin/llm")
    assert plain.http("GET", README).status == 200
    owner.strongroom("partner", "end", "orphaned")
    assert read() == 401 == plain.http("GET", README).status
    assert "ended" in heir.strongroom("partner", "confirm", "orphaned", fails=True).stderr
    heir.strongroom("partner", "remove", "orphaned", "orphaned-1", fails=True)
    owner.strongroom("partner", "remove", "orphaned", "orphaned-1")
    assert plain.http("GET", README).status == 200 and read() == 401


def test_who_makes_a_partner_and_who_stands_for_it_and_nobody_else_learns_of_it(server, owner, repo):
    room = Room(server, "quiet")
    others = [server.person("passer-by", ("owner", "elsewhere")), room.plain[0], room.people[0], server.person("a-maintainer", ("maintainer", "admin"))]
    for person in others:
        for verb, *more in [("show",), ("confirm",), ("remove", "quiet-1")]:
            hidden, missing = (person.strongroom("partner", verb, name, *more, fails=True) for name in ("quiet", "no-such"))
            assert hidden.stderr == missing.stderr, verb
        for verb, *more in [("add", "passer-by"), ("sponsor", "passer-by"), ("end",)]:
            hidden, missing = (person.strongroom("partner", verb, name, *more, fails=True) for name in ("quiet", "no-such"))
            assert hidden.stderr == missing.stderr, verb
        person.strongroom("partner", "create", "another", "--sponsor", "passer-by", fails=True)
    assert others[0].strongroom("partner", "list") == {"partners": []}
    assert [each["name"] for each in room.sponsor.strongroom("partner", "list")["partners"]] == ["quiet"]
    assert room.shown()["shares"][0]["id"] == int(room.share) and room.shown()["due"]
    # The sponsor names nobody, and hands it to nobody.
    for verb, *more in [("add", "passer-by"), ("sponsor", "passer-by"), ("end",)]:
        room.sponsor.strongroom("partner", verb, "quiet", *more, fails=True)


def test_one_name_is_one_thing_and_nobody_is_on_both_sides(server, owner, repo):
    refuse = lambda *command: owner.strongroom(*command, fails=True).stderr
    room = Room(server, "sides")
    other = Room(server, "other-side")
    assert "taken" in refuse("user", "create", "Sides") and "taken" in refuse("partner", "create", "sides-0", "--sponsor", "sides-sponsor")
    assert "taken" in refuse("partner", "create", "SIDES", "--sponsor", "sides-sponsor")
    assert "one of sides's people" in refuse("partner", "add", "other-side", "sides-0")
    assert "inside" in refuse("partner", "add", "other-side", "sides-sponsor")
    assert "inside" in refuse("partner", "create", "third", "--sponsor", "sides-0")
    assert "inside" in refuse("partner", "sponsor", "other-side", "sides-0")
    assert "inside" in refuse("partner", "add", "sides", "admin"), "what stops a partner must not stop who can let it go on"
    assert "inside" in refuse("role", "grant", "sides-0", "auditor", "--system")
    assert "no recipient" in refuse("share", "create", "admin/llm@main", "--to", "sides", "--compartments", "docs", "--expires", "1h", "--sealed")
    del room, other


def test_never_is_no_time_until_a_partner_is_confirmed_again(make_server):
    server = make_server("[partners]\nmax_recertify_days = 2\n")
    owner = server.owner
    server.person("stands")
    create = lambda name, *more, **how: owner.strongroom("partner", "create", name, "--sponsor", "stands", *more, **how)
    for every in ("3days", "172801s", "0s"):
        assert "max_recertify_days" in create("firm", "--recertify", every, fails=True).stderr
    assert create("firm")["recertify_s"] == 172_800 and create("other", "--recertify", "2days")["recertify_s"] == 172_800
    server.stop()
    file = server.folder / "strongroom.toml"
    for days in ("0", "-1", "100000", '"never"'):
        text = file.read_text()
        file.write_text(text.replace("max_recertify_days = 2\n", f"max_recertify_days = {days}\n"))
        refused = owner.run([PROGRAM, "serve", *map(str, server.arguments)], fails=True)
        assert "max_recertify_days" in refused.stderr, refused.stderr
        file.write_text(text)
    server.start()


# The lock


def test_a_locked_partner_ends_the_downloads_of_all_its_people_within_a_second_and_no_others(server, owner, repo, officer, analyst):
    room = Room(server, "locked", at="admin/long@main", shared=("--compartments", "docs"))
    owner.strongroom("role", "grant", "locked-1", "reader", "--repo", "admin/long")
    stranger = server.person("unconcerned", ("reader", "admin/long"))
    # One through the share, one by a role of their own.
    theirs, own_role, other = SlowDownload(room.people[0], LONG), SlowDownload(room.plain[1], LONG), SlowDownload(stranger, LONG)
    start = other.bytes
    time.sleep(2)
    pace = other.bytes - start
    assert officer.strongroom("lock", "add", "--partner", "locked", "--reason", "leak?")["locked"] == "partner locked"
    time.sleep(1)
    arrived, moved = [theirs.bytes, own_role.bytes], other.bytes
    time.sleep(2)
    assert arrived == [theirs.bytes, own_role.bytes] and max(arrived) < SIZE
    assert other.bytes - moved > pace / 2 > 0, "the others keep their pace"
    unknown = Person(server, "srt_" + "A" * 49, server.folder / "home-nobody")
    for person in (*room.people, *room.plain):
        same(person.http("GET", README), unknown.http("GET", README))
    assert {record["reason"] for record in records(analyst, "--partner", "locked", "--outcome", "denied")} == {"partner organisation locked"}
    assert "partner locked" in {each["subject"] for each in officer.strongroom("lock", "list")["locks"]}
    # It holds for whoever becomes one of its people, for tokens that are made later, and nobody slips out of it.
    late = server.person("locked-late", ("reader", "admin/long"))
    assert late.http("GET", README.replace("llm", "long")).status == 200
    owner.strongroom("partner", "add", "locked", "locked-late")
    assert late.http("GET", README.replace("llm", "long")).status == 401
    assert server.with_token("locked-1").http("GET", README.replace("llm", "long")).status == 401
    for person in (owner, room.sponsor):
        assert "locked" in person.strongroom("partner", "remove", "locked", "locked-late", fails=True).stderr
    assert "partner organisation locked" == room.shown()["state"]
    room.sponsor.strongroom("partner", "confirm", "locked")
    assert late.http("GET", README.replace("llm", "long")).status == 401, "confirmed is not unlocked"
    server.stop()
    server.start()
    assert late.http("GET", README.replace("llm", "long")).status == 401, "a lock outlives a restart"
    for person in (owner, room.sponsor, stranger):
        if person is not owner:
            person.strongroom("lock", "remove", "--partner", "locked", fails=True)
    officer.strongroom("lock", "remove", "--partner", "locked")
    assert late.http("GET", README.replace("llm", "long")).status == 200
    assert room.people[0].http("GET", README.replace("llm", "long")).status == 200


def test_an_incident_of_a_partner_is_about_all_its_people_and_locks_it_in_the_same_act(server, owner, repo, officer, tmp_path):
    room = Room(server, "suspect")
    for person in room.people:
        assert person.http("GET", README).status == 200
    owner.strongroom("partner", "remove", "suspect", "suspect-1")
    bundle = tmp_path / "bundle.jsonl"
    opened = officer.strongroom("incident", "open", "--partner", "suspect", "--since", "1h", "--lock", "--out", bundle)
    told = str(opened)
    assert "partner suspect" in told and "suspect-0" in told and "suspect-1" in told
    assert room.people[0].http("GET", README).status == 401
    verified = officer.strongroom("incident", "verify", bundle, "--key", opened["key"])
    assert verified["verified"] is True
    could = {each["principal"]: each["periods"] for each in verified["could"]}
    shares = lambda period: [share["share"] for each in period["repos"] for share in each["shares"]]
    assert set(could) == {"suspect-0", "suspect-1"}
    # Who was removed could, and can no more; who was not could until the lock.
    for periods in could.values():
        assert any(shares(period) == [int(room.share)] for period in periods) and shares(periods[-1]) == []


# The rule of two, replicas, and what lies on the disk


def test_whoever_becomes_one_of_a_partners_people_is_given_what_it_has_by_two(make_server):
    server = make_server()
    owner, second = server.owner, server.second()
    owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(owner, "admin/llm", {"model.safetensors": os.urandom(1000), "README.md": b"words"})
    owner.strongroom("role", "grant", "steward", "maintainer", "--namespace", "admin")
    server.person("stands")
    owner.strongroom("partner", "create", "firm", "--sponsor", "stands")
    first, late = server.person("first"), server.person("late")
    owner.strongroom("partner", "add", "firm", "first")
    made = server.agreed("share", "create", "admin/llm@main", "--to", "firm", "--compartments", "weights", "--expires", "1h")
    assert "second person" in owner.strongroom("partner", "add", "firm", "late", fails=True).stderr
    assert late.strongroom("access", "token", "admin/llm", fails=True).returncode == 1
    server.agreed("partner", "add", "firm", "late")
    for person in (first, late):
        taken = person.strongroom("access", "token", "admin/llm")
        assert taken["share"] == made["id"]
        assert Person(server, taken["token"], person.home).http("GET", "/admin/llm/resolve/main/model.safetensors").status == 200
    # Taking away is done by one.
    owner.strongroom("partner", "remove", "firm", "late")
    del second


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    yield from fleet_with(tmp_path_factory, "long", {"README.md": b"words", "long.md": os.urandom(SIZE)})


def test_a_lapse_a_removal_and_a_lock_hold_on_all_replicas(fleet):
    owner, first, second = fleet.owner, *fleet.servers
    room = Room(fleet, "firm", "--recertify", "20s", people=3, at="admin/long@main", shared=("--compartments", "docs"))
    read = lambda person: [fleet.at(person, server).http("GET", "/admin/long/resolve/main/README.md").status for server in fleet.servers]
    assert [read(person) for person in room.people] == [[200, 200]] * 3
    # A stream on the one ends when the other is told.
    removed, locked = (SlowDownload(fleet.at(person, first), LONG) for person in room.people[:2])
    fleet.at(owner, second).strongroom("partner", "remove", "firm", "firm-0")
    assert ended(removed) and read(room.people[0]) == [401, 401] and read(room.people[1]) == [200, 200]
    fleet.at(owner, second).strongroom("lock", "add", "--partner", "firm")
    assert ended(locked) and read(room.people[1]) == [401, 401]
    fleet.at(owner, first).strongroom("lock", "remove", "--partner", "firm")
    room.sponsor.strongroom("partner", "confirm", "firm")
    due = moment(room.shown()["due"])
    assert read(room.people[1]) == [200, 200]
    time.sleep(max(0, due - time.time()))
    assert read(room.people[1]) == [401, 401], "at that moment, on both"
    time.sleep(3)
    assert [record["subject"] for record in records(owner, "--action", "partner.lapse")] == ["partner firm"], "once, by whichever"
    fleet.at(room.sponsor, second).strongroom("partner", "confirm", "firm")
    assert read(room.people[1]) == [200, 200]


def test_what_a_partner_share_counts_is_one_count_on_all_replicas_whoever_reads(fleet):
    room = Room(fleet, "many", people=5, at="admin/long@main", shared=("--compartments", "docs", "--max-downloads", "300"))
    answers, lock = [], threading.Lock()

    def ask(person, server):
        one = fleet.at(person, server)
        for _ in range(10):
            status = one.http("GET", "/admin/long/resolve/main/README.md").status
            with lock:
                answers.append(status)

    pairs = [(person, server) for person in room.people for server in fleet.servers] * 4
    threads = [threading.Thread(target=ask, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The people of one share meet at its row on both keepers, and none of them waits for ever, or is told to come back.
    assert {status: answers.count(status) for status in set(answers)} == {200: 300, 429: 100}
    assert fleet.owner.strongroom("share", "show", room.share)["used_downloads"] == 300
    assert not [server for server in fleet.servers if "deadlock" in server.log()]


def test_no_name_of_a_partner_is_readable_at_rest(server, owner, repo):
    words = ["planted-bandicoot", "planted-potoroo"]
    server.person(words[1])
    owner.strongroom("partner", "create", words[0], "--sponsor", words[1])
    owner.strongroom("share", "create", "admin/llm@main", "--to", words[0], "--compartments", "docs", "--expires", "1h")
    owner.strongroom("lock", "add", "--partner", words[0], "--reason", "planted-quoll")
    words.append("planted-quoll")
    assert readable(server, words) == []
