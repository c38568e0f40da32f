"""Lists of repositories: a page at a time, the newest first, and of what somebody may not see nothing is told."""

import base64
import re
import urllib.parse

import pytest

from conftest import commit

COUNT = 45


def create(person, name, kind="model"):
    namespace, name = name.split("/")
    made = person.http("POST", "/api/repos/create", {"name": name, "organization": namespace, "type": kind})
    assert made.status == 200, made.body


def page(person, path):
    answer = person.http("GET", path)
    assert answer.status == 200, answer.body
    link = re.fullmatch(r'<https://[^/]+(/.*)>; rel="next"', answer.headers["Link"]) if answer.headers["Link"] else None
    return answer.json(), link and link[1]


def pages(person, query="", between=lambda at: None, kind="models"):
    """All pages as a client walks them: the ids of each."""
    found, path = [], f"/api/{kind}?{query}"
    while path:
        rows, path = page(person, path)
        found.append([row["id"] for row in rows])
        between(len(found))
        assert len(found) < 200, "pages without end"
    return found


def flat(found):
    return [name for rows in found for name in rows]


@pytest.fixture(scope="module")
def crowd(owner):
    """Repositories of two namespaces, made in turn, so that what a reader of one may not see stands between what she may."""
    owner.strongroom("role", "grant", "admin", "owner", "--namespace", "hidden")
    names = [f"{['admin', 'hidden'][n % 2]}/r{n}" for n in range(COUNT)]
    for name in names:
        create(owner, name)
    return names


def test_pages_show_each_repository_once_the_newest_first(owner, crowd):
    assert flat(pages(owner)) == crowd[::-1] and len(pages(owner)) == 1
    # 45 are 9 full pages: no tenth is promised.
    found = pages(owner, "limit=5")
    assert flat(found) == crowd[::-1] and [len(rows) for rows in found] == [5] * 9
    # A commit brings a repository to the front of one order, and leaves the other as it was.
    commit(owner, crowd[3], {"a.txt": b"a"})
    moved = [crowd[3], *(name for name in crowd[::-1] if name != crowd[3])]
    assert flat(pages(owner, "limit=7")) == flat(pages(owner, "limit=7&sort=lastModified")) == moved
    assert flat(pages(owner, "limit=7&sort=trendingScore&direction=-1")) == moved
    assert flat(pages(owner, "limit=7&sort=createdAt")) == crowd[::-1]
    rows, _ = page(owner, "/api/models?limit=45")
    assert [row["lastModified"] for row in rows] == sorted((row["lastModified"] for row in rows), reverse=True)
    # A commit to another branch moves nothing.
    assert owner.http("POST", f"/api/models/{crowd[8]}/branch/dev", {}).status == 200
    headers = {"Content-Type": "application/x-ndjson"}
    lines = b'{"key": "header", "value": {"summary": "x"}}\n{"key": "file", "value": {"path": "b", "content": "Yg=="}}'
    assert owner.http("POST", f"/api/models/{crowd[8]}/commit/dev", lines, headers).status == 200
    assert flat(pages(owner, "limit=7")) == moved
    assert owner.http("POST", f"/api/models/{crowd[10]}/super-squash/main", {}).status == 200
    moved = [crowd[10], *(name for name in moved if name != crowd[10])]
    assert flat(pages(owner, "limit=7")) == moved
    # The order outlives a start.
    owner.server.stop()
    owner.server.start()
    assert flat(pages(owner, "limit=7")) == moved


def test_what_may_not_be_seen_is_neither_counted_nor_told_by_paging(server, owner, crowd):
    readable = [name for name in flat(pages(owner)) if name.startswith("admin/")]
    reader = server.person("paging-reader", ("reader", "admin"))
    for limit in (1, 7, len(readable), 1000):
        found = pages(reader, f"limit={limit}")
        assert flat(found) == readable
        # The last page is not followed by one more, whatever lies behind it that is hidden.
        assert [len(rows) for rows in found[:-1]] == [limit] * (len(found) - 1) and found[-1]
    few = [crowd[1], crowd[20], crowd[43]]
    some = server.person("paging-few", *(("reader", name) for name in few))
    assert sorted(flat(pages(some, "limit=2"))) == sorted(few) and len(pages(some, "limit=3")) == 1
    assert sorted(flat(pages(some, "limit=2&author=hidden"))) == sorted(few[::2])
    assert pages(some, "author=nobody") == [[]]
    # A namespace and a repository in it: once.
    both = server.person("paging-both", ("reader", "admin"), ("writer", crowd[20]))
    assert flat(pages(both, "limit=4")) == readable
    # A token that is for one repository, of somebody who sees many.
    narrow = server.with_token("paging-reader", f"repo:{crowd[20]}")
    assert flat(pages(narrow, "limit=1")) == [crowd[20]]
    assert flat(pages(server.with_token("paging-few", "namespace:hidden"), "limit=1")) == [n for n in flat(pages(some)) if n in few[::2]]
    for nobody in (server.person("paging-none"), server.person("paging-monitor", ("monitor", None))):
        assert pages(nobody) == pages(nobody, "limit=1") == pages(nobody, "search=r1") == [[]]
    # What is locked leaves the lists of all.
    owner.strongroom("lock", "add", "--repo", crowd[20], "--reason", "test")
    assert crowd[20] not in flat(pages(owner, "limit=4")) + flat(pages(some)) + flat(pages(reader, "limit=3"))
    owner.strongroom("lock", "remove", "--repo", crowd[20])
    assert flat(pages(reader, "limit=3")) == readable


def test_a_cursor_says_nothing_and_is_good_for_one_list_of_one_person(server, owner, crowd):
    one, other = server.person("cursor-one", ("reader", "admin")), server.person("cursor-other", ("reader", "admin"))
    _, link = page(one, "/api/models?limit=3")
    cursor = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["cursor"][0]
    assert one.http("GET", link).status == 200
    sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    # Nonce, 16 bytes, tag; the same place is another text each time.
    assert len(sealed) == 12 + 16 + 16 and page(one, "/api/models?limit=3")[1] != link
    assert other.http("GET", link).status == 400 and owner.http("GET", link).status == 400
    for changed in (f"{link}&sort=createdAt", f"{link}&search=r1", f"{link}&author=admin", link.replace("/models", "/datasets")):
        assert one.http("GET", changed).status == 400, changed
    flipped = base64.urlsafe_b64encode(bytes([sealed[0] ^ 1]) + sealed[1:]).decode().rstrip("=")
    for wrong in ("0", "20", "-1", "x" * 59, flipped, cursor[:-1], ""):
        answer = one.http("GET", f"/api/models?limit=3&cursor={urllib.parse.quote(wrong)}")
        assert answer.status == 400 and b"cursor" in answer.body, wrong


def test_a_search_stops_at_its_limit_and_crosses_what_is_hidden(server, owner, crowd):
    wanted = [name for name in flat(pages(owner)) if "r1" in name]
    assert flat(pages(owner, "search=R1&limit=2")) == wanted
    assert flat(pages(owner, "search=r1&search=ADMIN/&limit=2")) == [name for name in wanted if name.startswith("admin/")]
    reader = server.person("search-reader", ("reader", "admin"))
    assert flat(pages(reader, "search=r1&limit=1")) == [name for name in wanted if name.startswith("admin/")]
    assert pages(reader, "search=hidden") == [[]]
    assert owner.http("GET", "/api/models?" + "&".join(f"search=w{n}" for n in range(9))).status == 400
    assert owner.http("GET", f"/api/models?search={'x' * 300}").status == 400


def test_repositories_that_come_and_go_between_pages_disturb_no_others(server, owner, crowd):
    before = flat(pages(owner, "author=admin"))
    gone, early, late = before[9], before[0], before[-2]

    def between(at):
        if at == 1:
            create(owner, "admin/newcomer")
            assert owner.http("DELETE", "/api/repos/delete", {"name": gone.split("/")[1], "organization": "admin"}).status == 200
            commit(owner, early, {"seen.txt": b"again"})
        if at == 2:
            move = {"fromRepo": late, "toRepo": "hidden/moved-away", "type": "model"}
            assert owner.http("POST", "/api/repos/move", move).status == 200

    found = flat(pages(owner, "author=admin&limit=4", between))
    assert found == [name for name in before if name not in (gone, late)]
    after = flat(pages(owner, "author=admin&limit=4"))
    assert after == [early, "admin/newcomer", *(name for name in before[1:] if name not in (gone, late))]
    assert "hidden/moved-away" in flat(pages(owner, "author=hidden&limit=4"))


def test_a_right_that_is_taken_ends_a_list_that_is_being_read(server, owner, crowd):
    reader = server.person("list-leaver", ("reader", "admin"), ("reader", "hidden"))
    take = lambda at: at == 1 and owner.strongroom("role", "revoke", "list-leaver", "reader", "--namespace", "hidden")
    found = pages(reader, "limit=6", take)
    assert any(name.startswith("hidden/") for name in found[0])
    assert found[1:] and not any(name.startswith("hidden/") for name in flat(found[1:]))


def test_a_filter_by_tag_reads_on_and_datasets_are_another_list(owner, crowd):
    for name in ("admin/r4", "admin/r22", "hidden/r33"):
        commit(owner, name, {"README.md": b"---\ntags: [rare]\n---\n"})
    assert flat(pages(owner, "filter=rare&limit=1")) == ["hidden/r33", "admin/r22", "admin/r4"]
    assert flat(pages(owner, "filter=rare&filter=none")) == []
    assert pages(owner, "limit=1", kind="datasets") == [[]]
    create(owner, "admin/set-one", "dataset")
    create(owner, "admin/set-two", "dataset")
    assert pages(owner, "limit=1", kind="datasets") == [["admin/set-two"], ["admin/set-one"]]
    assert "admin/set-one" not in flat(pages(owner))
