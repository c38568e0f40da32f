"""An export is the whole log, or says what is missing. Told with an analyst, and with whoever owns the disk."""

import contextlib
import sqlite3
import subprocess

import pytest

from conftest import PROGRAM, STORES
from test_alerts import within

FORMATS = ["jsonl", "ocsf", "syslog"]
pytestmark = pytest.mark.skipif(STORES.postgres is not None, reason="edits a file")


@pytest.fixture(scope="module")
def analyst(server):
    return server.person("analyst", ("auditor", None))


def export(person, form, *more):
    return person.run([PROGRAM, "audit", "export", "--format", form, *more], fails=None)


def edit(server, *statements):
    """As whoever owns the disk does, while nobody serves."""
    server.stop()
    with contextlib.closing(sqlite3.connect(server.data / "keeper" / "keeper.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    server.start()


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_log_is_exported_from_any_record_on(analyst, form):
    whole = export(analyst, form)
    assert whole.returncode == 0 and len(whole.stdout.splitlines()) > 5
    later = export(analyst, form, "--from", "4")
    assert later.returncode == 0 and later.stdout.startswith(whole.stdout.split("\n", 4)[4])
    # Of what nobody wrote yet nothing is missing.
    assert export(analyst, form, "--from", "1000000").returncode == 0
    # A log that is not there at all is no empty one.
    assert export(analyst, form, "--log", "1").stdout.startswith(whole.stdout)
    for more in ([], ["--follow"]):
        gone = export(analyst, form, "--log", "2", *more)
        assert gone.returncode == 1 and "there is no log 2" in gone.stderr, gone.stderr


@pytest.mark.parametrize("form", FORMATS)
def test_an_end_that_was_cut_off_is_no_end(make_server, form):
    server = make_server()
    analyst = server.person("analyst", ("auditor", None))
    size = analyst.strongroom("audit", "checkpoint")["size"]
    # Whatever an export itself adds to the log goes the way of what was there: nothing is behind the gap.
    hide = "CREATE TRIGGER hide AFTER INSERT ON audit_leaf WHEN NEW.action LIKE 'audit.%' BEGIN DELETE FROM audit_leaf WHERE seq >= {}; END"
    edit(server, hide.format(size - 2))
    cut = export(analyst, form)
    assert cut.returncode == 1 and f"record {size - 2} of strongroom is missing" in cut.stderr, cut.stderr
    assert len(cut.stdout.splitlines()) == size - 2
    # Nor is one silent that goes on.
    command = [PROGRAM, "audit", "export", "--format", form, "--follow"]
    following = subprocess.Popen(command, env=analyst.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        within(10, lambda: following.poll() is not None)
        assert following.returncode == 1 and f"record {size - 2} of strongroom is missing" in following.stderr.read()
    finally:
        following.kill()
        following.wait()


@pytest.mark.parametrize("form", FORMATS)
def test_a_record_that_was_taken_out_is_missed_by_its_number(make_server, form):
    server = make_server()
    analyst = server.person("analyst", ("auditor", None))
    # A start looks at the newest records itself, and not at those under whole tiles.
    while analyst.strongroom("audit", "checkpoint")["size"] < 260:
        [analyst.http("GET", "/api/whoami-v2") for _ in range(50)]
    edit(server, "DELETE FROM audit_leaf WHERE seq = 3")
    for more in ([], ["--from", "2"], ["--from", "3"], ["--follow"]):
        cut = export(analyst, form, *more)
        assert cut.returncode == 1 and "record 3 of strongroom is missing" in cut.stderr, (more, cut.stderr)
    assert export(analyst, form, "--from", "4").returncode == 0
