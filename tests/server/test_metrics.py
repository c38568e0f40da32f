"""The numbers for Prometheus: they say how much, never who or what, and only to whom they are for."""

import json
import re
import secrets
from pathlib import Path

import pytest
import yaml

from conftest import PROGRAM, commit, with_budgets

prometheus = pytest.importorskip("prometheus_client.parser", reason="no prometheus_client")

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PATH = "/api/strongroom/metrics"


@pytest.fixture(scope="module")
def monitor(server):
    return server.person("scraper", ("monitor", None))


def scrape(person):
    answer = person.http("GET", PATH)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.body
    families = list(prometheus.text_string_to_metric_families(answer.body.decode()))
    samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}
    return answer.body.decode(), families, samples


def value(samples, name, **labels):
    return sum(held for (found, marks), held in samples.items() if found == name and labels.items() <= dict(marks).items())


def test_numbers_are_for_those_who_may_read_them_and_nobody_else(server, monitor):
    assert server.stranger().http("GET", PATH).status == 401
    reader = server.person("just-a-reader", ("reader", "admin"))
    assert reader.http("GET", PATH).status == 403
    for name, role in [("guard", "security"), ("chief", "admin")]:
        assert server.person(name, (role, None)).http("GET", PATH).status == 200
    assert monitor.http("GET", PATH).status == 200
    # And a monitor has nothing else.
    assert monitor.http("GET", "/api/models").json() == []
    assert monitor.http("POST", "/api/strongroom/v1/audit", {"audit": "checkpoint"}).status in (400, 403)
    narrow = server.with_token("scraper", "action:repo.read")
    assert narrow.http("GET", PATH).status == 403
    records = server.owner.strongroom("audit", "search", "--action", "metrics.read")["records"]
    assert {record["outcome"] for record in records} == {"allowed", "denied"}


def test_no_name_comes_to_stand_in_the_numbers(server, owner, monitor):
    word = "quokka" + secrets.token_hex(4)
    person = server.person(word, ("owner", "admin"))
    owner.hf("repos", "create", f"admin/{word}")
    commit(person, f"admin/{word}", {f"{word}.txt": word.encode(), f"data/{word}/x.csv": b"1"})
    assert person.http("GET", f"/admin/{word}/resolve/main/{word}.txt").status == 200
    person.http("GET", f"/admin/{word}/resolve/{word}/{word}.txt", headers={"X-Request-Id": word})
    for path in (f"/{word}", f"/api/{word}/{word}", f"/admin/{word}/{word}?{word}={word}"):
        person.http("GET", path)
    person.http("PROPFIND", f"/api/models/admin/{word}", headers={"User-Agent": word})
    server.stranger().http("GET", f"/api/models/admin/{word}", headers={"Authorization": f"Bearer srt_{word}"})
    text, families, _ = scrape(monitor)
    assert word not in text and person.token not in text and monitor.token not in text
    for private in ("127.0.0.1", "localhost", "srt_", "admin", "scraper"):
        assert private not in text, private
    # Whatever stands in a label is of a closed list.
    known = {"method", "route", "status", "outcome", "why", "le"}
    for sample in (sample for family in families for sample in family.samples):
        assert sample.labels.keys() <= known
        route = sample.labels.get("route", "none")
        assert route == "none" or re.fullmatch(r"/[a-z0-9/{}*_.-]+", route) and ("{" in route or route.startswith("/api/")), route


def test_what_happens_is_counted_once(server, owner, monitor):
    owner.hf("repos", "create", "admin/counted")
    body = b"x" * 70_000
    commit(owner, "admin/counted", {"README.md": body})
    _, _, before = scrape(monitor)
    for _ in range(3):
        assert owner.http("GET", "/admin/counted/resolve/main/README.md").body == body
    server.stranger().http("GET", "/api/whoami-v2", headers={"Authorization": "Bearer srt_wrong"})
    assert owner.http("GET", "/no/such/route/at/all").status == 404
    with pytest.raises(OSError):
        import ssl

        import urllib.request

        urllib.request.urlopen(server.url + "/healthz", context=ssl.create_default_context(), timeout=10)
    _, families, after = scrape(monitor)

    def grew(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    resolve = "/{kind}/{ns}/{name}/resolve/{rev}/{*path}"
    assert grew("strongroom_requests_total", route=resolve, method="GET", status="2xx") == 3
    assert grew("strongroom_requests_total", route="none", status="4xx") == 1
    assert grew("strongroom_requests_total", route="/api/whoami-v2", status="4xx") == 1
    assert grew("strongroom_sent_bytes_total") == 3 * len(body)
    assert grew("strongroom_failed_logins_total") == 1
    assert grew("strongroom_tls_handshakes_failed_total") == 1
    assert grew("strongroom_log_records_total", outcome="denied") == 1
    # Three times: decided, opened, delivered; then the refused login, the unknown route and this scrape itself.
    assert grew("strongroom_log_records_total") == grew("strongroom_log_size") >= 9
    assert grew("strongroom_log_append_seconds_count") == grew("strongroom_log_records_total")
    assert grew("strongroom_request_seconds_count") == 6
    # The scrape itself is in flight, and holds its grant.
    assert value(after, "strongroom_requests_in_flight") == 1 and value(after, "strongroom_grants_live") >= 1
    for family in families:
        if family.type == "histogram":
            buckets = [s.value for s in family.samples if s.name.endswith("_bucket")]
            count = next(s.value for s in family.samples if s.name.endswith("_count"))
            assert buckets == sorted(buckets) and buckets[-1] == count


def test_a_spent_budget_and_a_stop_are_counted(make_server, tmp_path):
    server = make_server(with_budgets(tmp_path, '[principal]\nbytes_per_day = { hard = "4B" }\n'))
    server.owner.hf("repos", "create", "admin/dear")
    commit(server.owner, "admin/dear", {"README.md": b"words"})
    assert server.owner.http("GET", "/admin/dear/resolve/main/README.md").status == 429
    _, _, samples = scrape(server.owner)
    assert value(samples, "strongroom_budget_refusals_total") == 1


def test_rules_and_dashboard_use_only_numbers_that_there_are(monitor):
    _, families, samples = scrape(monitor)
    there = {name for name, _ in samples}
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    told = [rule["expr"] for rule in alerts] + [target["expr"] for panel in panels for target in panel["targets"]]
    used = {name for text in told for name in re.findall(r"\bstrongroom_[a-z_]+", text)}
    assert len(alerts) >= 6 and len(used) > 10
    assert used - there == set()
    # And each family is shown somewhere.
    assert {family.name for family in families} - {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in used} == set()


def test_at_debug_each_request_leaves_a_line_with_its_route_and_no_name(make_server, monkeypatch):
    server = make_server()
    server.stop()
    monkeypatch.setenv("STRONGROOM_LOG", "debug")
    server.start()
    word = "wombat" + secrets.token_hex(4)
    server.owner.http("GET", f"/admin/{word}/resolve/main/{word}.txt", headers={"X-Request-Id": word})
    line = next(line for line in server.log().splitlines() if "answered" in line and "resolve" in line)
    assert "/{kind}/{ns}/{name}/resolve/{rev}/{*path}" in line and "status=404" in line and "micros=" in line
    assert word not in server.log()


TRACES = "/api/strongroom/traces"


def traces(person, after=0):
    answer = person.http("GET", f"{TRACES}?after={after}")
    assert answer.status == 200, answer.body
    return [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"] for line in answer.body.splitlines()], int(answer.headers["x-next-after"])


def test_traces_are_for_monitors_and_say_what_took_how_long_and_name_nobody(server, owner, monitor):
    word = "numbat" + secrets.token_hex(4)
    person = server.person(word, ("owner", "admin"))
    assert server.stranger().http("GET", TRACES).status == 401
    assert person.http("GET", TRACES).status == 403 and person.http("GET", f"{TRACES}?after=x").status == 400
    _, after = traces(monitor)
    while (more := traces(monitor, after))[0]:
        after = more[1]
        if len(more[0]) < 2:
            break
    owner.hf("repos", "create", f"admin/{word}")
    commit(person, f"admin/{word}", {f"{word}.txt": word.encode()})
    answer = person.http("GET", f"/admin/{word}/resolve/main/{word}.txt?{word}=1", headers={"X-Request-Id": word, "traceparent": word})
    assert answer.body == word.encode()
    found, _ = traces(monitor, after)
    assert word not in json.dumps(found)
    marks = lambda span: {mark["key"]: mark["value"]["stringValue"] for mark in span["attributes"]}
    read = next(spans for spans in found if marks(spans[-1]).get("route", "").startswith("/{kind}/{ns}/{name}/resolve/"))
    root = read[-1]
    assert marks(root)["status"] == "200" and root["kind"] == 2 and not root["parentSpanId"]
    assert [marks(span).get("ask") for span in read[:-1]] == ["authorize", "revision", "open", "open"]
    for span in read:
        assert len(span["traceId"]) == 32 and len(span["spanId"]) == 16
        assert int(root["startTimeUnixNano"]) <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
        assert span is root or span["parentSpanId"] == root["spanId"]
    told = monitor.run([PROGRAM, "traces"]).stdout
    assert word not in told and '"resourceSpans"' in told
