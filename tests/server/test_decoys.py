"""Decoys: repositories, files and tokens that are not there; told with an analyst who plants them, people at their work, and a
thief who looks around."""

import os
import secrets
import threading
import time

import pytest

from conftest import Person, commit
from fleet import Fleet
from postgres import programs
from test_alerts import rules
from test_promises import SlowDownload
from weed import HAPROXY
from weed import PROGRAM as WEED

VARYING = {"date", "x-request-id"}


def same(one, other, names=()):
    """Whether two answers are the same, byte for byte, but for the names that were asked for."""
    texts = []
    for answer, name in zip((one, other), names or ("", "")):
        head = "\n".join(f"{k.lower()}: {v}" for k, v in answer.headers.items() if k.lower() not in VARYING)
        text = f"{answer.status}\n{head}\n{answer.body.decode()}"
        texts.append(text.replace(name, "NAME") if name else text)
    return texts[0] == texts[1] or pytest.fail("\n---\n".join(texts))


def alerts(person, kind="decoy"):
    return person.strongroom("alert", "list", "--kind", kind)["alerts"]


def plant(analyst, *what):
    return analyst.strongroom("decoy", "plant", *what)


def early_in_a_turn():
    """The shipped turn of a decoy's alert is a minute of the clock: what is counted does not lie in two."""
    if time.time() % 60 > 45:
        time.sleep(60 - time.time() % 60)


def analyst_of(server):
    """Whoever plants decoys, and reads no content."""
    return server.person("watch", ("security", None))


@pytest.fixture(scope="module")
def watched(server, owner):
    """A repository with work in it, and decoys around it."""
    server.analyst = analyst_of(server)
    owner.http("POST", "/api/repos/create", {"name": "work", "organization": "admin"})
    commit(owner, "admin/work", {"README.md": b"# words", "config.json": b"{}", "data/real.csv": b"a,b"})
    plant(server.analyst, "--repo", "admin/quarterly-weights")
    plant(server.analyst, "--repo", "admin/people-2023", "--type", "dataset")
    plant(server.analyst, "--repo", "admin/work", "--path", "data/salaries-2023.csv")
    server.bait = plant(server.analyst, "--token", "ci backup")["secret"]
    return server


def thief(server, name):
    return server.person(name, ("writer", "admin"))


TOUCHES = {
    "info": lambda who: who.http("GET", "/api/models/admin/quarterly-weights"),
    "other case": lambda who: who.http("GET", "/api/models/admin/Quarterly-Weights"),
    "file": lambda who: who.http("GET", "/admin/quarterly-weights/resolve/main/model.safetensors"),
    "dataset": lambda who: who.http("GET", "/api/datasets/admin/people-2023/tree/main"),
    "commit": lambda who: commit(who, "admin/quarterly-weights", {"a.md": b"a"}, fails=True),
    "delete": lambda who: who.http("DELETE", "/api/repos/delete", {"name": "admin/quarterly-weights"}),
    "move from": lambda who: who.http(
        "POST", "/api/repos/move", {"fromRepo": "admin/quarterly-weights", "toRepo": "admin/mine", "type": "model"}
    ),
    "path": lambda who: who.http("GET", "/admin/work/resolve/main/data/salaries-2023.csv"),
    "path head": lambda who: who.http("HEAD", "/admin/work/resolve/main/data/salaries-2023.csv"),
    "path tree": lambda who: who.http("GET", "/api/models/admin/work/tree/main/data/salaries-2023.csv"),
    "paths-info": lambda who: who.http(
        "POST", "/api/models/admin/work/paths-info/main", {"paths": ["README.md", "data/salaries-2023.csv"]}
    ),
    "preupload": lambda who: who.http(
        "POST", "/api/models/admin/work/preupload/main", {"files": [{"path": "data/salaries-2023.csv", "size": 1, "sample": ""}]}
    ),
    "write": lambda who: commit(who, "admin/work", {"data/salaries-2023.csv": b"1"}, fails=True),
    "ask": lambda who: who.http("POST", "/admin/quarterly-weights/ask-access", {}),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_whoever_touches_a_decoy_is_locked_before_their_next_request_and_an_alert_says_so(watched, touch):
    name = "thief-" + touch.replace(" ", "-")
    who = thief(watched, name)
    other = watched.with_token(name)
    assert who.http("GET", "/api/models/admin/work").status == other.http("GET", "/api/models/admin/work").status == 200
    TOUCHES[touch](who)
    # The next request after the touching one, with this token and with any other of the principal's.
    assert who.http("GET", "/api/models/admin/work").status == other.http("GET", "/api/whoami-v2").status == 401
    [alert] = [row for row in alerts(watched.analyst) if row["principal"] == name]
    assert alert["token"] == who.token_id and alert["address"] == "127.0.0.1" and "was touched" in alert["why"]
    locks = {row["subject"]: row["reason"] for row in watched.analyst.strongroom("lock", "list")["locks"]}
    assert locks[f"user {name}"] == locks[f"token {who.token_id}"] and "touched decoy" in locks[f"user {name}"]
    # The record that raised it is in the log, and proves what was asked for.
    [record] = watched.analyst.strongroom("audit", "search", "--request-id", alert["request_id"], "--action", "alert.raised")["records"]
    assert record["alert"] == "decoy" and record["principal"] == name


def test_a_stream_in_flight_of_whoever_touches_a_decoy_ends_within_a_second(watched, owner):
    commit(owner, "admin/work", {"long.md": os.urandom(12_000_000)})
    who = thief(watched, "thief-stream")
    download = SlowDownload(who, "/admin/work/resolve/main/long.md")
    watched.with_token("thief-stream").http("GET", "/api/models/admin/quarterly-weights")
    time.sleep(1)
    arrived = download.bytes
    time.sleep(1)
    assert download.bytes == arrived < 12_000_000


def test_a_decoy_is_answered_as_what_is_not_there_byte_for_byte(watched, owner):
    for number, (there, nothing) in enumerate(
        [
            ("/api/models/admin/quarterly-weights", "/api/models/admin/quarterly-nothing"),
            ("/api/models/admin/quarterly-weights/tree/main", "/api/models/admin/quarterly-nothing/tree/main"),
            ("/admin/quarterly-weights/resolve/main/a.bin", "/admin/quarterly-nothing/resolve/main/a.bin"),
            ("/admin/work/resolve/main/data/salaries-2023.csv", "/admin/work/resolve/main/data/salaries-2024.csv"),
            ("/api/models/admin/work/tree/main/data/salaries-2023.csv", "/api/models/admin/work/tree/main/data/salaries-2024.csv"),
        ]
    ):
        who, honest = thief(watched, f"twin-{number}"), thief(watched, f"honest-{number}")
        touched = who.http("GET", there)
        assert touched.status == 404
        same(touched, honest.http("GET", nothing), (there.split("/")[-1], nothing.split("/")[-1]))
    who, honest = thief(watched, "twin-info"), thief(watched, "honest-info")
    asked = [
        person.http("POST", "/api/models/admin/work/paths-info/main", {"paths": ["README.md", f"data/salaries-{year}.csv"]})
        for person, year in ((who, 2023), (honest, 2024))
    ]
    assert asked[0].status == 200 and same(*asked)
    # A name that a decoy has is taken, as one that was used before is.
    owner.http("POST", "/api/repos/create", {"name": "was-here", "organization": "admin"})
    owner.http("DELETE", "/api/repos/delete", {"name": "admin/was-here"})
    maker, other = (watched.person(name, ("owner", "admin")) for name in ("maker", "other-maker"))
    made = [
        person.http("POST", "/api/repos/create", {"name": name, "organization": "admin"})
        for person, name in ((other, "was-here"), (maker, "quarterly-weights"))
    ]
    assert made[0].status == 409 and made[1].status in (409, 401)
    mover = watched.person("mover", ("owner", "admin"))
    body = {"fromRepo": "admin/work", "toRepo": "admin/quarterly-weights", "type": "model"}
    assert mover.http("POST", "/api/repos/move", body).status == 409
    assert owner.http("GET", "/api/models/admin/work").status == 200
    # Without a credential, and with a wrong one.
    stranger, wrong = watched.stranger(), Person(watched, "srt_wrong", watched.folder / "home-wrong")
    for person in (stranger, wrong):
        pair = [person.http("GET", f"/api/models/admin/quarterly-{name}") for name in ("weights", "nothing")]
        assert pair[0].status == 401 and same(*pair)


def test_a_decoy_token_is_a_wrong_token_and_raises_an_alert_with_the_address(watched):
    early_in_a_turn()
    bait = Person(watched, watched.bait, watched.folder / "home-bait")
    wrong = watched.bait[:-1] + ("A" if watched.bait[-1] != "A" else "B")
    for path in ("/api/whoami-v2", "/api/models", "/api/models/admin/work"):
        same(bait.http("GET", path), Person(watched, wrong, bait.home).http("GET", path))
    found = [row for row in alerts(watched.analyst) if "a token" in row["why"]]
    assert len(found) == 1, "of many uses, one alert"
    assert found[0]["address"] == "127.0.0.1" and found[0]["principal"] is None and found[0]["token"] is None


def test_a_touch_without_a_credential_that_holds_raises_one_alert_and_locks_nobody(watched):
    early_in_a_turn()
    dead = thief(watched, "long-gone")
    watched.owner.strongroom("token", "revoke", str(dead.token_id))
    before, locks = len(alerts(watched.analyst)), watched.analyst.strongroom("lock", "list")
    for person in [watched.stranger(), Person(watched, "srt_nothing", watched.folder / "home-nothing"), dead]:
        for _ in range(5):
            assert person.http("GET", "/api/datasets/admin/people-2023").status == 401
    found = alerts(watched.analyst)
    assert 1 <= len(found) - before <= 3 and "without a credential" in found[0]["why"]
    assert watched.analyst.strongroom("lock", "list") == locks


def test_no_list_shows_a_decoy_but_that_of_decoys_and_nobody_else_plants_them(watched, owner):
    admin, auditor = watched.person("admin7", ("admin", None)), watched.person("auditor7", ("auditor", None))
    reader = watched.person("reader7", ("reader", "admin"))
    for person in (owner, admin, auditor, reader, watched.analyst):
        for path in ("/api/models", "/api/datasets", "/api/models?search=quarterly", "/api/datasets?author=admin"):
            assert b"quarterly" not in person.http("GET", path).body and b"people-2023" not in person.http("GET", path).body
    for person in (owner, reader):
        whole = person.http("GET", "/api/models/admin/work/tree/main?recursive=true").body
        assert b"salaries" not in whole + person.http("GET", "/api/models/admin/work").body
        assert person.http("GET", "/api/models/admin/work/tree/main/data").status == 200
    for noun in (["repo", "list"], ["user", "list"], ["token", "list"], ["quota", "list"], ["lock", "list"], ["audit", "who", "admin/work"]):
        person = auditor if noun[0] == "audit" else admin if noun[0] != "repo" else owner
        text = str(person.strongroom(*noun))
        assert "quarterly-weights" not in text and "salaries" not in text and "ci backup" not in text, noun
    # Who reads the log learns that something was planted, and not what.
    planted = auditor.strongroom("audit", "search", "--action", "decoy.plant")["records"]
    assert len(planted) == 4 and not any(word in str(planted) for word in ("quarterly", "salaries", "people-2023", "ci backup"))
    listed = watched.analyst.strongroom("decoy", "list")["decoys"]
    assert [row["what"] for row in listed] == ["repository", "repository", "path", "token"]
    assert listed[2]["repo"] == "admin/work" and listed[2]["path"] == "data/salaries-2023.csv" and listed[0]["by"] == "watch"
    for person in (owner, admin, auditor, reader):
        for words in (["list"], ["plant", "--repo", "admin/x"], ["remove", "1"]):
            assert "decoy.manage" in person.strongroom("decoy", *words, fails=True).stderr
    for words in (["--repo", "admin/work"], ["--repo", "admin/work", "--path", "data/salaries-2023.csv"]):
        watched.analyst.strongroom("decoy", "plant", *words, fails=True)
    refused = watched.analyst.strongroom("decoy", "plant", "--repo", "admin/work", "--path", "adapter_config.json", fails=True)
    assert "stock clients ask" in refused.stderr


def test_whoever_planted_a_decoy_is_not_locked_by_it_and_what_is_removed_is_none(make_server):
    server = make_server()
    analyst = analyst_of(server)
    made = plant(analyst, "--repo", "admin/drill")
    assert analyst.http("GET", "/api/models/admin/drill").status == 404
    assert analyst.http("GET", "/api/whoami-v2").status == 200
    [alert] = alerts(analyst)
    assert alert["principal"] == "watch" and "by whoever planted it" in alert["why"]
    server.stop()
    server.start()
    who = thief(server, "thief")
    assert analyst.strongroom("decoy", "list")["decoys"][0]["repo"] == "admin/drill", "after a restart as before"
    analyst.strongroom("decoy", "remove", str(made["id"]))
    assert who.http("GET", "/api/models/admin/drill").status == 404 and who.http("GET", "/api/whoami-v2").status == 200
    assert server.owner.http("POST", "/api/repos/create", {"name": "drill", "organization": "admin"}).status == 200
    # What is stored says nothing of it.
    plant(analyst, "--repo", "admin/quokka-bait")
    server.stop()
    assert not any(b"quokka-bait" in file.read_bytes() for file in server.data.rglob("*") if file.is_file())


def test_ordinary_work_trips_no_decoy(make_server, tmp_path):
    """What people and stock clients do all day, ten thousand times where STRONGROOM_TEST_OPERATIONS says so."""
    operations = int(os.environ.get("STRONGROOM_TEST_OPERATIONS", "300"))
    server = make_server()
    owner, analyst = server.owner, analyst_of(server)
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in {"README.md": b"# words", "config.json": b"{}", "model.safetensors": secrets.token_bytes(2_000_000)}.items():
        (folder / name).write_bytes(content)
    owner.hf("upload", "admin/llm", folder)
    for number in range(20):
        plant(analyst, "--repo", f"admin/llm-{secrets.token_hex(4)}")
        plant(analyst, "--repo", "admin/llm", "--path", f"archive/{secrets.token_hex(4)}.safetensors")
        plant(analyst, "--token", f"bait {number}")
    reader = server.person("reader", ("reader", "admin"))
    for client in ("current", "hf036"):
        owner.hf("upload", "admin/llm", folder, client=client)
        reader.hf("download", "admin/llm", "--local-dir", tmp_path / f"copy-{client}", client=client)
    reader.python(
        "from huggingface_hub import HfApi, snapshot_download\n"
        "api = HfApi()\n"
        "snapshot_download('admin/llm')\n"
        "list(api.list_models()); list(api.list_repo_tree('admin/llm', recursive=True)); api.repo_info('admin/llm', files_metadata=True)\n"
        "api.file_exists('admin/llm', 'adapter_config.json'); api.get_paths_info('admin/llm', ['README.md', 'archive'])\n"
        "api.list_repo_commits('admin/llm'); api.list_repo_refs('admin/llm')\n"
    )
    reads = [
        "/api/models",
        "/api/models?search=llm",
        "/api/models/admin/llm",
        "/api/models/admin/llm/tree/main?recursive=true",
        "/api/models/admin/llm/tree/main/archive",
        "/api/models/admin/llm/refs",
        "/admin/llm/resolve/main/README.md",
        "/admin/llm/resolve/main/adapter_config.json",
        "/admin/llm/resolve/main/generation_config.json",
        "/admin/llm/resolve/main/archive/",
        "/api/whoami-v2",
    ]
    done, wrong, lock = [0], [], threading.Lock()

    def work(person, share):
        for number in range(share):
            path = reads[number % len(reads)]
            answer = person.http("GET", path)
            with lock:
                done[0] += 1
                if answer.status not in (200, 404, 400):
                    wrong.append((path, answer.status))
            if person is owner and number % 50 == 0:
                commit(owner, "admin/llm", {f"notes/{number}.md": str(number).encode()})

    people = [owner, reader, server.with_token("reader"), server.with_token("reader")]
    workers = [threading.Thread(target=work, args=(person, operations // len(people))) for person in people]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    print(f"{done[0]} operations")
    assert done[0] >= operations // 4 * 4 and not wrong, wrong[:5]
    assert alerts(analyst) == [] and analyst.strongroom("lock", "list")["locks"] == []


needs_fleet = pytest.mark.skipif(
    not (programs() and HAPROXY and WEED), reason="PostgreSQL, HAProxy or SeaweedFS is not installed"
)


@needs_fleet
def test_a_decoy_that_one_replica_was_told_of_locks_on_the_other_and_raises_one_alert(tmp_path):
    fleet = Fleet(tmp_path / "fleet", 2, rules(tmp_path / "policies"))
    try:
        analyst = analyst_of(fleet)
        one, two = (fleet.at(analyst, server) for server in fleet.servers)
        who = thief(fleet, "thief")
        plant(one, "--repo", "admin/bait")
        bait = plant(one, "--token", "bait")["secret"]
        assert fleet.at(who, fleet.servers[1]).http("GET", "/api/models/admin/bait").status == 404
        for server in fleet.servers:
            assert fleet.at(who, server).http("GET", "/api/whoami-v2").status == 401
            for _ in range(3):
                assert Person(server, bait, tmp_path / "home").http("GET", "/api/whoami-v2").status == 401
        for person in (one, two):
            whys = sorted(row["why"].split(": ")[1] for row in alerts(person))
            assert whys == ["a repository", "a token, without a credential that holds"], "once each, whoever saw it"
    finally:
        fleet.remove()
