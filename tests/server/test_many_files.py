"""A directory of some thousand files, told with its owner and a reader who may not see logs."""

import hashlib
import json
import re
import urllib.parse

from conftest import commit

CONTENT = b"the same in each file\n"
PLACES = [f"many/f{n:04}.{'log' if n % 3 == 0 else 'md' if n % 7 == 0 else 'csv'}" for n in range(3500)]


def send(person, repo, title, lines):
    lines = [{"key": "header", "value": {"summary": title, "description": ""}}, *lines]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    answer = person.http("POST", f"/api/models/{repo}/commit/main", body, {"Content-Type": "application/x-ndjson"})
    assert answer.status == 200, answer.body
    return answer.json()["commitOid"]


def link(path):
    """A file whose bytes lie in its compartment already."""
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": hashlib.sha256(CONTENT).hexdigest()}}


def next_page(answer):
    found = re.fullmatch(r'<(https://[^>]+)>; rel="next"', answer.headers.get("Link") or "")
    return found and found[1]


def pages(person, path):
    """All lines, page by page, along the links."""
    lines, sizes = [], []
    parameters = lambda url: urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)
    asked = {pair for pair in parameters(path) if pair[0] != "cursor"}
    while path:
        answer = person.http("GET", path)
        assert answer.status == 200, answer.body
        lines += answer.json()
        sizes.append(len(answer.json()))
        url = next_page(answer)
        if url:
            assert url.startswith(person.server.url)
            assert asked < set(parameters(url))
        path = url and url.removeprefix(person.server.url)
    return lines, sizes


def test_a_directory_of_thousands_is_paged_whole_in_order_and_each_sees_their_part(server, owner):
    repo = "admin/many"
    owner.http("POST", "/api/repos/create", {"name": "many", "organization": "admin"})
    reader = server.person("page-reader", ("reader", "admin"))
    commit(owner, repo, {"one.log": CONTENT, "one.md": CONTENT, "one.csv": CONTENT})
    filled = send(owner, repo, "fill", map(link, PLACES))
    seen = [path for path in PLACES if not path.endswith(".log")]
    tree = f"/api/models/{repo}/tree/main"
    for person, expected in [(owner, PLACES), (reader, seen)]:
        lines, sizes = pages(person, f"{tree}/many?recursive=true&expand=false")
        assert [line["path"] for line in lines] == expected
        assert set(sizes[:-1]) == {1000}
        lines, _ = pages(person, f"{tree}?recursive=true&limit=333")
        listed = [line["path"] for line in lines]
        assert [path for path in listed if path.startswith("many/")] == expected
        assert len(set(listed)) == len(listed) and listed.index("many") + 1 == listed.index(expected[0])
    siblings = {line["rfilename"] for line in reader.http("GET", f"/api/models/{repo}").json()["siblings"]}
    assert siblings == {*seen, ".gitattributes", "one.md", "one.csv"}

    # While she pages, one more file comes: her pages stay those of one state.
    first = reader.http("GET", f"{tree}/many?recursive=true")
    added = send(owner, repo, "one more", [link("many/f3400a.csv")])
    rest, _ = pages(reader, next_page(first).removeprefix(server.url))
    assert [line["path"] for line in first.json() + rest] == seen
    now = sorted([*seen, "many/f3400a.csv"])
    assert [line["path"] for line in pages(reader, f"{tree}/many")[0]] == now
    asked = ["many/f3400a.csv", "many/f0001.csv", "many/f0000.log", "many", "nowhere"]
    found = reader.http("POST", f"/api/models/{repo}/paths-info/main", {"paths": asked, "expand": True}).json()
    last = {line["path"]: line["lastCommit"]["id"] for line in found}
    assert last == {"many/f3400a.csv": added, "many/f0001.csv": filled, "many": added}
    answer = reader.http("GET", f"{tree}/many?expand=true&cursor=many/f3398.csv")
    lines = {line["path"]: line["lastCommit"]["title"] for line in answer.json()}
    assert len(lines) == 50 and {path for path, title in lines.items() if title != "fill"} == {"many/f3400a.csv"}
    # What changed in a log, only who sees logs is told.
    logged = send(owner, repo, "a log", [link("many/x.log")])
    for person, expected in [(owner, logged), (reader, added)]:
        found = person.http("POST", f"/api/models/{repo}/paths-info/main", {"paths": ["many"], "expand": True}).json()
        assert found[0]["lastCommit"]["id"] == expected

    head = owner.http("GET", f"/api/models/{repo}").json()["sha"]
    assert send(owner, repo, "the same again", map(link, PLACES[:5])) == head
    send(owner, repo, "gone", [{"key": "deletedFolder", "value": {"path": "many/"}}])
    for person in (owner, reader):
        assert person.http("GET", f"{tree}/many").status == 404
        lines, _ = pages(person, f"{tree}?recursive=true")
        assert {line["path"] for line in lines} <= {".gitattributes", "one.log", "one.md", "one.csv"}


def test_a_cursor_that_is_none_of_this_directory_is_refused(server, owner):
    owner.http("POST", "/api/repos/create", {"name": "cursors", "organization": "admin"})
    commit(owner, "admin/cursors", {"a/b.md": b"x", "c.md": b"x"})
    for cursor in ["..%2fx", "c.md", "a", "%00"]:
        answer = owner.http("GET", f"/api/models/admin/cursors/tree/main/a?cursor={cursor}")
        assert answer.status == 400, (cursor, answer.body)
    answer = owner.http("GET", "/api/models/admin/cursors/tree/main?recursive=true&cursor=a")
    assert [line["path"] for line in answer.json()] == ["a/b.md", "c.md"]
    answer = owner.http("GET", "/api/models/admin/cursors/tree/main?recursive=true&cursor=a/nothing.md")
    assert [line["path"] for line in answer.json()] == ["c.md"]


def test_lists_of_repositories_are_paged_whole_whatever_is_filtered(server, owner):
    names = [f"paged-{n}" for n in range(7)]
    for n, name in enumerate(names):
        owner.http("POST", "/api/repos/create", {"name": name, "organization": "admin"})
        commit(owner, f"admin/{name}", {"README.md": f"---\ntags: [t{n % 2}]\n---\n".encode()})
    owner.http("POST", "/api/repos/create", {"name": "another", "organization": "admin"})
    for query, expected in [("", names), ("&filter=t0", names[::2]), ("&filter=t1&sort=createdAt", names[1::2])]:
        for limit in (1, 2, 100):
            lines, sizes = pages(owner, f"/api/models?search=paged-{query}&limit={limit}")
            # The newest first.
            assert [line["id"] for line in lines] == [f"admin/{name}" for name in reversed(expected)], (query, limit)
            assert max(sizes) <= limit
