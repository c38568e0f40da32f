"""What is exported as OCSF is what OCSF's published schema calls so: each event of a server at work, attribute by attribute."""

import ipaddress
import json
import re
from pathlib import Path

from conftest import commit
from test_shares import share

SCHEMA = json.loads((Path(__file__).parent / "fixtures" / "ocsf-1.3.0-api-activity.json").read_text())
INTEGERS = {"integer_t", "long_t", "timestamp_t", "port_t"}


def wrong(value, shape, at, profiles=()):
    """What is wrong with an object, by its class or its object of the schema."""
    found = []
    attributes = shape["attributes"]
    for name, attribute in attributes.items():
        asked = attribute.get("profile") is None or attribute["profile"] in profiles
        if attribute["requirement"] == "required" and asked and value.get(name) is None:
            found.append(f"{at}.{name} is missing")
    one_of = (shape.get("constraints") or {}).get("at_least_one", [])
    if one_of and not any(value.get(name) is not None for name in one_of):
        found.append(f"{at} has none of {one_of}")
    for name, content in value.items():
        if name not in attributes:
            found.append(f"{at}.{name} is no attribute")
        # What has no value is not there.
        elif content is None:
            found.append(f"{at}.{name} is null")
        else:
            found += wrong_value(content, attributes[name], f"{at}.{name}", value)
    return found


def wrong_value(content, attribute, at, beside):
    if attribute.get("is_array"):
        if not isinstance(content, list):
            return [f"{at} is no list"]
        return [what for each in content for what in wrong_value(each, {**attribute, "is_array": False}, at, beside)]
    kind = attribute["type"]
    if kind == "object_t":
        if not isinstance(content, dict):
            return [f"{at} is no object"]
        # `unmapped` is any object.
        return [] if attribute.get("object") in ("object", None) else wrong(content, SCHEMA["objects"][attribute["object"]], at)
    if kind in INTEGERS:
        if not isinstance(content, int) or isinstance(content, bool):
            return [f"{at} is no integer: {content!r}"]
        enum = attribute.get("enum")
        if enum and str(content) not in enum:
            return [f"{at}: {content} is not in its list"]
        caption = enum and beside.get(attribute.get("sibling"))
        return [f"{at}: {content} is called {enum[str(content)]}, not {caption}"] if caption and caption != enum[str(content)] else []
    if kind == "boolean_t":
        return [] if isinstance(content, bool) else [f"{at} is no boolean"]
    if not isinstance(content, str):
        return [f"{at} is no text: {content!r}"]
    if kind == "ip_t":
        ipaddress.ip_address(content)
    form = SCHEMA["types"].get(kind, {})
    if len(content) > form.get("max_len", len(content)) or kind != "ip_t" and "regex" in form and not re.search(form["regex"], content):
        return [f"{at} is no {kind}: {content!r}"]
    return []


def test_every_event_of_a_server_at_work_is_an_api_activity_of_the_published_schema(make_server):
    server = make_server()
    owner = server.owner
    analyst = server.person("analyst", ("auditor", None))
    officer = server.person("officer", ("security", None))
    owner.http("POST", "/api/repos/create", {"name": "llm", "organization": "admin"})
    commit(owner, "admin/llm", {"README.md": b"words", "config.json": b"{}", "<script>\u00e9 \"a\" {b}.md": b"hostile"})
    owner.http("GET", "/admin/llm/resolve/main/README.md")
    owner.http("GET", "/admin/llm/resolve/main/no%0Asuch%1b%5B2J")
    server.stranger().http("GET", "/api/models/admin/llm")
    server.person("partner")
    held = share(owner, "admin/llm@main", "partner")
    held.http("GET", "/admin/llm/resolve/main/config.json")
    officer.strongroom("decoy", "plant", "--repo", "admin/bait")
    held.http("GET", "/api/models/admin/bait")
    officer.strongroom("lock", "add", "--share", held.share_id, "--reason", 'a "reason"\r\n{"with": 1}')
    owner.http("DELETE", "/api/repos/delete", {"name": "none", "organization": "admin"})
    exported = analyst.run([server.program, "audit", "export", "--format", "ocsf"]).stdout
    events = [json.loads(line) for line in exported.splitlines()]
    assert len(events) > 30 and {event["activity_name"] for event in events} >= {"Create", "Read", "Delete"}
    assert {event["status"] for event in events} == {"Success", "Failure"}
    found = {what: event for event in events for what in wrong(event, SCHEMA["class"], "event")}
    assert not found, json.dumps(found, indent=1)[:3000]
    numbers = [event["metadata"]["sequence"] for event in events]
    assert numbers == list(range(len(numbers))), "a gap would show"


def test_the_validator_itself_finds_what_is_wrong():
    good = {"activity_id": 2, "activity_name": "Read", "category_uid": 6, "class_uid": 6003, "type_uid": 600302, "time": 1, "severity_id": 1,
            "actor": {"user": {"name": "a"}}, "src_endpoint": {"ip": "127.0.0.1"}, "api": {"operation": "x"},
            "metadata": {"version": "1.3.0", "product": {"name": "S", "vendor_name": "S"}}}
    assert wrong(good, SCHEMA["class"], "event") == []
    for spoiled in ({"time": "1"}, {"actor": {}}, {"activity_name": "Create"}, {"activity_id": 7}, {"more": 1}, {"api": None},
                    {"src_endpoint": {"port": 1}}, {"severity_id": 42}, {"metadata": {"version": "1.3.0"}}):
        assert wrong({**good, **spoiled}, SCHEMA["class"], "event"), spoiled
