"""Every route, asked by everybody, about every kind of place: the reviewed answers stand in matrix.txt.

STRONGROOM_WRITE_MATRIX=1 writes the file anew; what changed in it is then for a reviewer."""

import json
import os
import re
from pathlib import Path

import pytest
from conftest import Person, Server, age_key, commit, policies
from test_shares import share

HERE = Path(__file__).parent
SOURCE = (HERE.parents[1] / "src" / "gate" / "routes.rs").read_text()
FILE = HERE / "matrix.txt"
ROUTE = re.compile(r'^    (GET|HEAD|POST|PUT|DELETE)\s+(Root|Api|Web)\s+"([^"]*)"\s+(\w+)\s', re.M)
BASE = {"Root": "", "Api": "/api/models", "Web": ""}
# Of the other kind of repository.
DATASETS = {"Root": "/datasets", "Api": "/api/datasets"}
# All names are equally long, so that nothing in an answer can differ by them.
PLACES = {"own": "acme/own", "shared": "acme/shr", "foreign": "othr/frn", "hidden": "acme/hid", "absent": "acme/abs"}
# Whoever owns the namespace comes last: what they delete is gone.
ACTORS = ["nobody", "broken", "stranger", "reader", "writer", "maintainer", "owner", "partner", "knower", "vaulted", "breaker", "auditor", "security", "monitor", "admin", "founder"]
# Who sees what is shared, each in a way of their own: a share, that it is there, a sealed share, all of it.
SHARED = ("partner", "knower", "vaulted", "founder")
FILES = {"README.md": b"words", "sub/a.md": b"a", "config.json": b"{}", "logs/run.txt": b"loss", "model.bin": b"weights"}


def routes():
    return [(method, base, path) for method, base, path, _ in ROUTE.findall(SOURCE)]


def of_repo(**more):
    """A body about a repository that its place names."""
    return lambda repo, who: json.loads(json.dumps(more).replace("acme/own", repo).replace("WHO", who))


def spec(**more):
    return {"kind": "model", "repo": "acme/own", "revision": "main", "to": "dummy", "compartments": ["docs"], "life_s": 60, **more}


# What is sent to a route: (path's parameters, body). A route that is not here is asked with none of its own.
NEW = "new-WHO"
BODIES = {
    "/{ns}/{name}/paths-info/{rev}": {"paths": ["README.md", "logs/run.txt"], "expand": False},
    "/api/validate-yaml": {"content": "a: b", "repoType": "model"},
    "/api/repos/create": lambda repo, who: {"name": f"new-{who}-{repo[5:]}", "organization": repo[:4] if repo[5:] != "abs" else "none"},
    "/api/repos/move": lambda repo, who: {"fromRepo": repo, "toRepo": f"{repo}-{who}"},
    "/api/repos/delete": lambda repo, who: {"name": repo[5:], "organization": repo[:4]},
    "/{ns}/{name}/settings": {"private": True},
    "/{ns}/{name}/preupload/{rev}": {"files": [{"path": "README.md", "size": 1, "sample": "YQ=="}]},
    "/{ns}/{name}/branch/{rev}": {},
    "/{ns}/{name}/tag/{rev}": {"tag": "v-WHO"},
    "/{ns}/{name}/super-squash/{rev}": {"message": "one"},
    "/{ns}/{name}/user-access-request/handle": {"user": "dummy", "status": "rejected"},
    "/{ns}/{name}/user-access-request/grant": {"user": "dummy"},
    "/{ns}/{name}/info/lfs/objects/batch": {"operation": "download", "transfers": ["basic"], "objects": [{"oid": "0" * 64, "size": 1}]},
    "/api/strongroom/v1/user": "UserList",
    "/api/strongroom/v1/role": of_repo(RoleGrant={"user": "dummy", "role": "reader", "place": {"Repo": ["model", "acme/own"]}}),
    "/api/strongroom/v1/token": {"TokenList": {"user": None}},
    "/api/strongroom/v1/token/claim": {"TokenClaim": {"name": None}},
    "/api/strongroom/v1/approval": {"Approval": {"List": {"all": True}}},
    "/api/strongroom/v1/share": of_repo(Share={"Create": spec()}),
    "/api/strongroom/v1/share/terms": {"Share": "Terms"},
    "/api/strongroom/v1/access": of_repo(Access={"List": {"of": ["model", "acme/own"], "status": None, "after": None}}),
    "/api/strongroom/v1/access/mine": of_repo(Access={"Ask": {"kind": "model", "repo": "acme/own", "fields": []}}),
    "/api/strongroom/v1/lock": "LockList",
    "/api/strongroom/v1/audit": {"AuditSearch": {"limit": 1}},
    "/api/strongroom/v1/key": of_repo(KeyRotateRepo={"kind": "model", "repo": "acme/own", "step": "Finish"}),
    "/api/strongroom/v1/quota": "QuotaList",
    "/api/strongroom/v1/key/recover": of_repo(kind="model", repo="acme/own", revision="main", path="README.md"),
    "/api/strongroom/v1/partner": {"Partner": {"Create": {"name": "lab-WHO", "sponsor": "dummy", "recertify_s": None}}},
    "/api/strongroom/v1/partner/sponsored": {"Partner": "List"},
    "/api/strongroom/v1/review": of_repo(Review={"List": {"repo": ["model", "acme/own"], "user": None, "stale_s": None, "after": None}}),
    "/api/strongroom/v1/alert": {"Alert": {"List": {"kind": None, "since_ms": None, "before": None}}},
    "/api/strongroom/v1/decoy": {"Decoy": "List"},
    "/api/strongroom/v1/seal": {"Seal": "List"},
    "/api/strongroom/v1/unseal": {"share": "srs.2.AAAA.BBBBBB"},
}
# Routes whose body, and not whose path, names the repository.
PLACED = {"/api/repos/create", "/api/repos/move", "/api/repos/delete"} | {f"/api/strongroom/v1/{noun}" for noun in ("role", "share", "access", "access/mine", "key", "key/recover", "review")}
# Who is told by a route of places that they do not read, and why: it is their work.
SIGHT = {f"/api/strongroom/v1/{noun}": ("admin",) for noun in ("key", "review", "role")}
# Done last: they take things away from those who come after.
LAST = ["/{ns}/{name}/super-squash/{rev}", "/api/repos/move", "/api/strongroom/v1/token/claim", "/api/repos/delete"]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    # No second person where a break-glass is asked for: what is asked here is answered at once.
    server = Server(tmp_path_factory.mktemp("server"), policies(tmp_path_factory.mktemp("rules") / "policies", recover=False))
    people = {"nobody": server.stranger(), "stranger": server.person("stranger")}
    people["broken"] = Person(server, "srt_nonsense", server.folder / "home-broken")
    people["founder"] = server.person("acme", ("owner", "acme"))
    other = server.person("othr", ("owner", "othr"))
    server.person("dummy")
    for person, repos in ((people["founder"], ("own", "shr", "hid")), (other, ("frn",))):
        for name in repos:
            namespace = "acme" if person is not other else "othr"
            assert person.http("POST", "/api/repos/create", {"name": name, "organization": namespace}).status == 200
            commit(person, f"{namespace}/{name}", FILES)
    for role in ("reader", "writer", "maintainer", "owner"):
        people[role] = server.person(role, (role, "acme/own"))
    server.person("partner")
    people["partner"] = share(people["founder"], "acme/shr@main", "partner")
    people["knower"] = server.person("knower")
    people["founder"].strongroom("access", "disclose", "acme/shr", "--to", "knower")
    server.person("vaulted")
    age_key(server.owner, "vaulted", server.folder)
    people["vaulted"] = share(people["founder"], "acme/shr@main", "vaulted", "--sealed", compartments="docs")
    people["breaker"] = server.person("breaker", ("reader", "acme/own"))
    server.agreed("role", "allow", "breaker", "key.recover", "--compartment", "docs", "--repo", "acme/own")
    assert people["founder"].http("POST", "/api/repos/create", {"name": "dat", "organization": "acme", "type": "dataset"}).status == 200
    commit(people["founder"], "acme/dat", FILES, kind="dataset")
    for role in ("auditor", "security", "monitor"):
        people[role] = server.person(role, (role, None))
    people["admin"] = server.person("root", ("admin", None))
    yield server, people
    server.stop()


def ask(person, method, base, path, repo, who, file="README.md", prefix=BASE):
    namespace, name = repo.split("/")
    filled = {"ns": namespace, "name": name, "rev": "main", "*path": file, "kind": "model", "status": "pending", "log": "1"}
    if "/branch/" in path:
        filled["rev"] = f"b-{who}"
    if "/tag/" in path:
        filled["rev"] = "main" if method == "POST" else f"v-{who}"
    if "/tree/" in path:
        # Of directories.
        filled["*path"] = {"README.md": "sub", "logs/run.txt": "logs", "logs/not.txt": "nots"}[file]
    if "/tile/" in path:
        filled["*path"] = "0/000.p/1"
    filled |= {"ticket": "nonsense", "scope": "00-0", "hash": "0" * 64}
    url = prefix[base] + re.sub(r"\{([^}]+)\}", lambda found: filled[found[1]], path)
    body = BODIES.get(path)
    body = body(repo, who) if callable(body) else json.loads(json.dumps(body).replace("WHO", who))
    headers = {"Content-Type": "application/json"}
    if path.endswith("/commit/{rev}"):
        headers = {"Content-Type": "application/x-ndjson"}
        lines = [{"key": "header", "value": {"summary": who}}, {"key": "file", "value": {"path": f"{who}.md", "content": "YQ==", "encoding": "base64"}}]
        body = "\n".join(map(json.dumps, lines))
    elif method in ("POST", "PUT", "DELETE") and body is not None:
        body = json.dumps(body)
    else:
        body = None
    return person.http(method, url, body.encode() if body else None, headers)


def shape(answer, repo, who):
    """All of an answer but the request's id, the moment, and the name that was asked for."""
    kept = {key.lower(): value for key, value in answer.headers.items() if key.lower() not in ("x-request-id", "date")}
    text = json.dumps([answer.status, sorted(kept.items())]) + answer.body.decode(errors="replace")
    return re.sub(r"[0-9a-f]{40}", "COMMIT", text.replace(repo, "REPO").replace(repo[5:], "NAME"))


def test_every_route_answers_everybody_about_every_place_as_reviewed(house):
    server, people = house
    assert set(people) == set(ACTORS)
    table, apart = [" " * 10 + " ".join(f"{who[:7]:>7}" for who in ACTORS)], []
    order = sorted(routes(), key=lambda route: LAST.index(route[2]) if route[2] in LAST else -1)
    # None was overlooked, whatever its line looks like.
    assert len(order) == len(re.findall(r"(?m)^    \w.* (?:hub|api)::[\w:]+;$", SOURCE)) and not set(BODIES) - {path for _, _, path in order}
    for method, base, path in order:
        placed = "{ns}" in path or path in PLACED
        rows = {place: (PLACES[place], "README.md", BASE) for place in (PLACES if placed else ["own"])}
        if "{*path}" in path and "{ns}" in path:
            rows |= {"no log": ("acme/own", "logs/run.txt", BASE), "no file": ("acme/own", "logs/not.txt", BASE)}
        if "{ns}" in path and base in DATASETS:
            rows |= {"data": ("acme/dat", "README.md", DATASETS), "no data": ("acme/abs", "README.md", DATASETS)}
        shapes = {}
        table.append(f"\n{method} {BASE[base] + path or '/'}")
        for place, (repo, file, prefix) in rows.items():
            cells = []
            for who in ACTORS:
                person = people[who]
                if path.endswith("token/claim") and who not in ("nobody", "broken", "partner", "vaulted"):
                    name = {"founder": "acme", "admin": "root"}.get(who, who)
                    person = server.with_token(name)
                answer = ask(person, method, base, path, repo, who, file, prefix)
                if path == "/api/repos/move" and answer.status == 200:
                    back = people["founder"].http("POST", path, {"fromRepo": f"{repo}-{who}", "toRepo": repo})
                    assert back.status == 200, back.body
                cells.append(answer.status)
                shapes[place, who] = shape(answer, repo, who)
            table.append(f"  {place if placed else '-':<8}" + " ".join(f"{status:>7}" for status in cells))
        # Where somebody has no right, what is there and what is not are one answer, byte for byte.
        for who in ACTORS if placed else []:
            blind = {"foreign", "hidden", "absent"} if who != "founder" else {"foreign", "absent"}
            blind |= set() if who in SHARED else {"shared"}
            seen = {place: shapes[place, who] for place in blind}
            if len(set(seen.values())) > 1 and who not in SIGHT.get(path, ()):
                apart.append((method, path, who, seen))
            if ("data", who) in shapes and who != "founder" and shapes["data", who] != shapes["no data", who]:
                apart.append((method, path, who, "a dataset and none"))
            if who == "reader" and ("no log", who) in shapes and shapes["no log", who] != shapes["no file", who]:
                apart.append((method, path, who, "a log and no file"))
    text = "\n".join(table) + "\n"
    assert not apart, json.dumps(apart[:3], indent=1)
    if os.environ.get("STRONGROOM_WRITE_MATRIX"):
        FILE.write_text(text)
    wanted = FILE.read_text().splitlines()
    wrong = [(line, want) for line, want in zip(text.splitlines(), wanted) if line != want]
    assert not wrong and len(text.splitlines()) == len(wanted), wrong[:10]
