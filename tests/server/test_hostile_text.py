"""What somebody wrote is data wherever it is shown: in a list for people it ends no line and does nothing to a terminal, and in JSON
it is what it was. Told with owner, officer, analyst, steward, asker and partner."""

import json
import unicodedata
import urllib.parse

import pytest

from conftest import PROGRAM, commit
from test_shares import agreed, share

# A line of one's own, a cleared screen, colours by way of C1, text that runs backwards, marks that nobody sees, and the separators by
# which some readers tell lines.
HOSTILE = "so\r\n99  forged  allowed\x1b[2J\x1b]0;t\x07\x7f\x85\x9b31m\u061c\u200b\u202a\u202e\u2066\u2069\u2028\u2029\ufeff\U000e0041é中"
# Paths have none of these. What is left to them is what looks like columns, and what is not seen.
PATH = "so  99  forged  allowed\xad\u061c\U000e0041é中.md"
ASK = "/admin/llm/ask-access"


def odd(text):
    """Characters of a text that do something, or are not seen. A line ends as it always does."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}


def lines(value):
    """How many lines an answer has that is shown for people: one each, and for a list its name, its heading and one a row."""
    rows = lambda each: isinstance(each, list) and each and all(isinstance(row, dict) for row in each)
    return sum(2 + len(each) if rows(each) else 1 for each in value.values())


class Shown:
    """A command by which something hostile is shown, as people and as programs see it."""

    def __init__(self, person, *command):
        text = person.run([PROGRAM, *command, "--json"]).stdout
        assert not odd(text), (command, odd(text))
        self.value = json.loads(text)
        self.text = person.run([PROGRAM, *command]).stdout
        assert not odd(self.text), (command, odd(self.text))
        self.lines = self.text.splitlines()
        assert self.text.endswith("\n") and "\n".join(self.lines) + "\n" == self.text

    def table(self):
        assert len(self.lines) == lines(self.value), self.text
        return self.value

    def strings(self):
        """All texts in it, keys too."""
        def walk(value):
            if isinstance(value, dict):
                return [text for key, each in value.items() for text in [key, *walk(each)]]
            return [text for each in value for text in walk(each)] if isinstance(value, list) else [value]

        return walk(self.value)


@pytest.fixture(scope="module")
def house(server, owner):
    """Somebody who writes it wherever one may write, and the reasons and requests of others who do."""
    owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(owner, "admin/llm", {"README.md": b"words", "w.safetensors": b"w" * 64})
    house = type("House", (), {})()
    house.officer = server.person("officer", ("security", None))
    house.analyst = server.person("analyst", ("auditor", None))
    house.asker = server.person("asker")
    server.second()
    owner.strongroom("user", "create", "victim")
    house.officer.strongroom("lock", "add", "--user", "victim", "--reason", HOSTILE)
    owner.strongroom("access", "disclose", "admin/llm", "--to", "asker")
    house.asker.http("POST", ASK, {HOSTILE: HOSTILE, "more": HOSTILE})
    return house


def path(of="admin/llm", name=PATH):
    return f"/{of}/resolve/main/{urllib.parse.quote(name)}"


def records(person, *more):
    """Records that are searched for, which the search itself is none of."""
    return Shown(person, "audit", "search", *more)


def test_a_reason_is_shown_on_its_line_by_every_list_that_has_it(house, owner):
    locks = Shown(house.officer, "lock", "list").table()["locks"]
    assert [lock["reason"] for lock in locks] == [HOSTILE]
    # And that of who confirms something in a review.
    given = owner.strongroom("review", "list", "--user", "officer")["given"]
    owner.strongroom("review", "confirm", given[0]["id"], "--reason", HOSTILE)
    for action in ("lock.add", "review.confirm"):
        found = records(house.analyst, "--action", action)
        assert [record["reason"] for record in found.table()["records"]] == [HOSTILE]
        assert "so\\r\\n99" in found.text and "\\u{1b}[2J" in found.text and "é中" in found.text
        acts = Shown(house.analyst, "audit", "timeline", "--action", action)
        assert len(acts.lines) == len(acts.value["acts"]) == 1 and acts.value["acts"][0]["reason"] == HOSTILE
    # What a record says to a program on its way elsewhere is one line too.
    for form in ("jsonl", "ocsf", "syslog"):
        exported = house.analyst.run([PROGRAM, "audit", "export", "--format", form]).stdout
        assert not odd(exported), form
        bodies = [json.loads(line[line.index("] {") + 2 :] if form == "syslog" else line) for line in exported.splitlines()]
        reasons = [(body if form != "ocsf" else body["unmapped"]).get("reason") for body in bodies]
        assert reasons.count(HOSTILE) == 2, form


def test_a_request_and_its_refusal_are_shown_on_their_lines(house, owner):
    [asked] = Shown(owner, "access", "list", "--status", "pending").table()["requests"]
    assert asked["fields"][HOSTILE] == HOSTILE and asked["fields"]["more"] == HOSTILE
    assert Shown(house.asker, "access", "mine").table()["requests"][0]["fields"] == asked["fields"]
    owner.strongroom("access", "reject", "admin/llm", "--user", "asker", "--reason", HOSTILE)
    assert Shown(owner, "access", "list").table()["requests"][0]["reason"] == HOSTILE
    assert records(house.analyst, "--action", "access.reject").table()["records"][0]["reason"] == HOSTILE
    # What went wrong is told on one line as well.
    for command in (["access", "ask", "admin/llm"], ["access", "ask", "admin/llm", "--json"]):
        told = house.asker.run([PROGRAM, *command], fails=True).stderr
        assert not odd(told) and "were rejected: so\\r\\n99" in told and len(told.splitlines()) == 1, told


def test_a_path_is_shown_on_its_line_by_every_list_that_has_it(house, owner, server, tmp_path):
    reader = server.person("reader", ("reader", "admin"))
    commit(owner, "admin/llm", {PATH: b"words"})
    assert reader.http("GET", path()).status == 200
    assert reader.http("GET", path(name=f"no/{PATH}")).status == 404
    assert reader.http("GET", path(name=HOSTILE)).status == 400
    house.officer.strongroom("decoy", "plant", "--repo", "admin/llm", "--path", f"bait/{PATH}")
    assert reader.http("GET", path(name=f"bait/{PATH}")).status == 404
    found = records(house.analyst, "--principal", "reader")
    assert {PATH, f"no/{PATH}", f"bait/{PATH}"} <= {record.get("path") for record in found.table()["records"]}, found.value
    acts = Shown(house.analyst, "audit", "timeline", "--principal", "reader")
    assert len(acts.lines) == len(acts.value["acts"]) and PATH in [act.get("path") for act in acts.value["acts"]]
    raised = Shown(house.officer, "alert", "list").table()["alerts"]
    assert f"bait/{PATH}" in [alert["path"] for alert in raised if alert["alert"] == "decoy"], raised
    # What somebody did, for those who look at it later.
    what = Shown(house.analyst, "audit", "what", "--principal", "reader")
    did = what.value.pop("did")
    assert len(what.lines) == lines({**what.value, **did}), what.text
    bundles = iter(("one", "two"))
    command = lambda: ["incident", "open", "--principal", "reader", "--since", "1h", "--out", tmp_path / next(bundles)]
    value = house.analyst.strongroom(*command())
    assert [read["path"] for read in value["read"]] == [PATH] and f"no/{PATH}" in [absent["path"] for absent in value["absent"]]
    report = house.analyst.run([PROGRAM, *command()]).stdout
    assert not odd(report) and sum("forged" in line for line in report.splitlines()) == 1 + len(value["absent"])
    Shown(house.analyst, "audit", "who", "admin/llm").table()
    Shown(house.officer, "decoy", "list").table()
    assert not odd(owner.run([PROGRAM, "repo", "show", "admin/llm"]).stdout)


def test_what_is_searched_for_is_shown_on_the_line_of_the_search(house):
    for field in ("--path", "--principal", "--request-id", "--action"):
        house.analyst.strongroom("audit", "search", field, HOSTILE)
    found = records(house.analyst, "--action", "audit.search", "--limit", "8").table()["records"]
    assert sum("forged" in record["subject"] for record in found) >= 4
    acts = Shown(house.analyst, "audit", "timeline", "--action", "audit.search", "--limit", "8")
    assert len(acts.lines) == len(acts.value["acts"])


def test_what_waits_for_a_second_person_is_shown_on_its_lines(house, owner, server):
    server.person("partner")
    command = ["share", "create", "admin/llm@main", "--to", "partner", "--expires", "1h", "--compartments", "weights", "--paths", HOSTILE]
    agreed(owner, *command[2:])
    owner.run([PROGRAM, *command, "--max-downloads", "7"], fails=True)
    [waits] = Shown(server.steward, "approval", "list").table()["approvals"]
    shown = Shown(server.steward, "approval", "show", str(waits["id"]))
    shown.table()
    assert HOSTILE in shown.strings()
    server.steward.strongroom("approval", "reject", str(waits["id"]), "--reason", HOSTILE)
    assert records(house.analyst, "--action", "approval.reject").table()["records"][0]["reason"] == HOSTILE
    shares = Shown(owner, "share", "list").table()["shares"]
    assert [HOSTILE] in [share["paths"] for share in shares]
    Shown(owner, "share", "show", str(shares[0]["id"])).table()


def test_a_partners_record_and_the_terms_are_shown_with_no_line_but_their_own(house, owner, server, tmp_path):
    server.person("reads-terms")
    terms = tmp_path / "terms.txt"
    terms.write_text(f"First line.\n{HOSTILE}")
    held = share(owner, "admin/llm@main", "reads-terms", "--terms", terms)
    told = held.run([PROGRAM, "share", "accept"], fails=None, input="y\n").stderr
    assert not odd(told) and told.startswith("First line.\nso\n99  forged"), "terms may have lines of their own, and nothing else"
    held.http("GET", path())
    house.officer.strongroom("lock", "add", "--share", held.share_id, "--reason", HOSTILE)
    house.officer.strongroom("lock", "remove", "--share", held.share_id)
    command = lambda name: ["share", "record", "--out", tmp_path / name]
    value = held.strongroom(*command("one"))
    text = held.run([PROGRAM, *command("two")]).stdout
    assert not odd(text) and len(value["own"]) > 1
    key = house.analyst.strongroom("audit", "checkpoint")["key"]
    Shown(held, "share", "verify", tmp_path / "two", "--key", key).table()
