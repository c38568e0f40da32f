"""Stock Hugging Face clients store and read a model, with no environment variable beyond endpoint, token and CA."""

import hashlib
import json
import os
import shutil
import struct
import subprocess

import pytest

from conftest import PEERS

CLIENTS = ["current", "without-xet", "hf119", "hf036"]


def safetensors(tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def make_model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "model.safetensors").write_bytes(safetensors({"w": [0.5] * 300_000, "b": [1.0, 2.0]}))
    (folder / "random.bin").write_bytes(os.urandom(3_000_000))
    (folder / "sub" / "dir").mkdir(parents=True)
    (folder / "sub" / "dir" / "notes é#1.md").write_text("non-ASCII name")
    (folder / "train.py").write_text("print('hi')\n")


def same(one, other):
    def files(folder):
        found = {}
        for path in folder.rglob("*"):
            relative = path.relative_to(folder)
            if path.is_file() and relative.parts[0] not in (".cache", ".gitattributes"):
                found[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    assert files(one) == files(other) and files(one)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_model_that_was_uploaded_comes_back_byte_for_byte(owner, tmp_path, client):
    make_model(tmp_path / "model")
    owner.hf("upload", f"admin/model-{client}", tmp_path / "model", client=client)
    for reader in CLIENTS:
        owner.hf("download", f"admin/model-{client}", "--local-dir", tmp_path / reader, client=reader)
        same(tmp_path / "model", tmp_path / reader)


@pytest.mark.parametrize("client", ["current", "hf036"])
def test_a_second_upload_sends_only_what_changed(owner, tmp_path, client):
    make_model(tmp_path / "model")
    repo = f"admin/again-{client}"
    owner.hf("upload", repo, tmp_path / "model", client=client)
    objects = owner.server.objects()
    owner.hf("upload", repo, tmp_path / "model", client=client)
    assert owner.server.objects() == objects
    (tmp_path / "model" / "config.json").write_text("{}")
    owner.hf("upload", repo, tmp_path / "model", client=client)
    assert owner.http("GET", f"/{repo}/resolve/main/config.json").body == b"{}"


def test_a_dataset_is_a_repository_of_its_own_kind(owner, tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "train.csv").write_text("text,label\nhello,1\n")
    owner.hf("upload", "admin/set", tmp_path / "set", "--repo-type", "dataset")
    owner.hf("download", "admin/set", "--repo-type", "dataset", "--local-dir", tmp_path / "copy")
    same(tmp_path / "set", tmp_path / "copy")
    assert owner.http("GET", "/api/models/admin/set").status == 404


API = """
import io, sys
from huggingface_hub import HfApi, CommitOperationAdd, CommitOperationDelete, CommitOperationCopy
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import *
api = HfApi()
def raises(kind, call):
    try: call()
    except kind: return
    raise SystemExit(f"no {kind.__name__}")
me = api.whoami()["name"]
repo = f"{me}/api-" + sys.version.split()[0].replace(".", "-") + "-" + __import__("huggingface_hub").__version__.replace(".", "-")
url = api.create_repo(repo)
assert url.repo_id == repo, url
raises(HfHubHTTPError, lambda: api.create_repo(repo))
assert api.create_repo(repo, exist_ok=True).repo_id == repo
first = api.upload_file(path_or_fileobj=b"one", path_in_repo="a/one.txt", repo_id=repo)
api.upload_file(path_or_fileobj=io.BytesIO(bytes(5_000_000)), path_in_repo="big.bin", repo_id=repo)
assert api.file_exists(repo, "a/one.txt") and not api.file_exists(repo, "a/two.txt")
raises(EntryNotFoundError, lambda: hf_hub_download(repo, "a/two.txt"))
raises(RevisionNotFoundError, lambda: api.repo_info(repo, revision="nowhere"))
raises(RepositoryNotFoundError, lambda: api.repo_info(f"{me}/nothing-here"))
tree = {item.path: item for item in api.list_repo_tree(repo, recursive=True)}
assert set(tree) == {".gitattributes", "a", "a/one.txt", "big.bin"}, set(tree)
assert tree["big.bin"].lfs.size == 5_000_000 and tree["a/one.txt"].lfs is None
import hashlib
assert tree["a/one.txt"].blob_id == hashlib.sha1(b"blob 3\\0one").hexdigest()
expanded = {item.path: item for item in api.list_repo_tree(repo, recursive=True, expand=True)}
assert expanded["a/one.txt"].last_commit.oid == first.oid, expanded["a/one.txt"].last_commit
infos = api.get_paths_info(repo, ["a", "a/one.txt", "missing"])
assert sorted(info.path for info in infos) == ["a", "a/one.txt"]
head = api.repo_info(repo).sha
operations = [CommitOperationAdd("b.txt", b"b"), CommitOperationDelete("a/"), CommitOperationCopy("big.bin", "copy.bin")]
done = api.create_commit(repo, operations, commit_message="three things", parent_commit=head)
assert set(api.list_repo_files(repo)) == {".gitattributes", "b.txt", "big.bin", "copy.bin"}
try: api.create_commit(repo, [CommitOperationAdd("c.txt", b"c")], commit_message="late", parent_commit=head)
except HfHubHTTPError as error: assert error.response.status_code == 412
else: raise SystemExit("no 412")
raises(EntryNotFoundError, lambda: api.create_commit(repo, [CommitOperationDelete("gone.txt")], commit_message="x"))
history = api.list_repo_commits(repo)
assert [commit.title for commit in history][0] == "three things" and history[-1].title == "initial commit", history
api.create_branch(repo, branch="dev/x", revision=head)
raises(HfHubHTTPError, lambda: api.create_branch(repo, branch="dev/x"))
api.create_branch(repo, branch="dev/x", exist_ok=True)
api.upload_file(path_or_fileobj=b"d", path_in_repo="d.txt", repo_id=repo, revision="dev/x")
assert "d.txt" in api.list_repo_files(repo, revision="dev/x") and "d.txt" not in api.list_repo_files(repo)
api.create_tag(repo, tag="v1", revision=head)
raises(HfHubHTTPError, lambda: api.create_tag(repo, tag="v1"))
refs = api.list_repo_refs(repo)
assert {b.name for b in refs.branches} == {"main", "dev/x"} and [t.target_commit for t in refs.tags] == [head]
assert api.repo_info(repo, revision=head[:8]).sha == head
api.delete_tag(repo, tag="v1"); api.delete_branch(repo, branch="dev/x")
raises(HfHubHTTPError, lambda: api.delete_branch(repo, branch="main"))
api.super_squash_history(repo)
assert len(api.list_repo_commits(repo)) == 1 and "b.txt" in api.list_repo_files(repo)
assert repo in [model.id for model in api.list_models(author=me)], list(api.list_models(author=me))
assert repo in [model.id for model in api.list_models(search="API-")]
assert api.auth_check(repo) is None
api.move_repo(repo, repo + "-moved")
assert api.repo_info(repo).id == repo + "-moved"
raises(HfHubHTTPError, lambda: api.create_repo(repo))
api.delete_repo(repo + "-moved")
raises(RepositoryNotFoundError, lambda: api.repo_info(repo))
raises(HfHubHTTPError, lambda: api.create_repo(repo + "-moved"))
print("all of it")
"""


@pytest.mark.parametrize("client", ["current", "hf119", "hf036"])
def test_the_python_api_finds_what_it_expects(owner, client):
    assert "all of it" in owner.python(API, client=client).stdout


def test_ten_clients_that_push_at_once_each_land(owner, tmp_path):
    owner.hf("repos", "create", "admin/crowd")
    program = "import sys; from huggingface_hub import HfApi; HfApi().upload_file(path_or_fileobj=b'x', path_in_repo=f'{sys.argv[1]}.txt', repo_id='admin/crowd')"
    command = [str(PEERS / "current" / "bin" / "python"), "-c", program]
    running = [subprocess.Popen([*command, str(n)], env=owner.environment()) for n in range(10)]
    assert [process.wait(timeout=120) for process in running] == [0] * 10
    listed = {line["path"] for line in owner.http("GET", "/api/models/admin/crowd/tree/main").json()}
    assert listed == {".gitattributes", *(f"{n}.txt" for n in range(10))}


def test_an_interrupted_download_goes_on_where_it_was_cut(owner, tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "weights.bin").write_bytes(content)
    owner.hf("upload", "admin/resume", tmp_path / "weights.bin", "weights.bin")
    first = owner.http("GET", "/admin/resume/resolve/main/weights.bin", headers={"Range": "bytes=0-999999"})
    rest = owner.http("GET", "/admin/resume/resolve/main/weights.bin", headers={"Range": "bytes=1000000-"})
    assert first.status == rest.status == 206 and first.body + rest.body == content
    assert rest.headers["Content-Range"] == "bytes 1000000-2999999/3000000"
    past = owner.http("GET", "/admin/resume/resolve/main/weights.bin", headers={"Range": "bytes=3000000-"})
    assert past.status == 416 and past.headers["Content-Range"] == "bytes */3000000"


def test_an_lfs_ticket_is_for_these_bytes_only_and_a_commit_links_what_was_sent(owner, tmp_path):
    owner.hf("repos", "create", "admin/lfs")
    content = os.urandom(200_000)
    oid = hashlib.sha256(content).hexdigest()
    batch = "/admin/lfs.git/info/lfs/objects/batch"
    objects = [{"oid": oid, "size": len(content)}]
    offer = owner.http("POST", batch, {"operation": "upload", "transfers": ["basic"], "objects": objects}).json()
    href = offer["objects"][0]["actions"]["upload"]["href"]
    path = href.removeprefix(owner.server.url)
    # The URL alone is enough, for these bytes only.
    assert owner.http("PUT", path, content[:-1] + b"x", token=False).status == 400
    assert owner.http("PUT", path, content, token=False).status == 200
    again = owner.http("POST", batch, {"operation": "upload", "transfers": ["basic"], "objects": objects}).json()
    assert "actions" not in again["objects"][0]
    line = {"key": "lfsFile", "value": {"path": "x.bin", "algo": "sha256", "oid": oid, "size": len(content)}}
    header = {"key": "header", "value": {"summary": "lfs"}}
    body = f"{json.dumps(header)}\n{json.dumps(line)}".encode()
    assert owner.http("POST", "/api/models/admin/lfs/commit/main", body).status == 200
    offer = owner.http("POST", batch, {"operation": "download", "transfers": ["basic"], "objects": objects}).json()
    href = offer["objects"][0]["actions"]["download"]["href"]
    assert owner.http("GET", href.removeprefix(owner.server.url), token=False).body == content


CARDS = """
from huggingface_hub import HfApi
api = HfApi()
def push(repo, text):
    api.upload_file(path_or_fileobj=text.encode(), path_in_repo='README.md', repo_id=repo)
for name, license, language in [("one", "mit", "en"), ("two", "apache-2.0", "de")]:
    repo = f"admin/card-{name}"
    api.create_repo(repo)
    text = f"---\\nlicense: {license}\\nlanguage: {language}\\npipeline_tag: fill-mask\\ntags: [tiny, {name}]\\n---\\n# {name}\\n"
    push(repo, text)
ids = lambda **more: sorted(model.id for model in api.list_models(search="card-", **more))
assert ids(filter="license:mit") == ["admin/card-one"], ids(filter="license:mit")
assert ids(filter=["tiny", "de"]) == ["admin/card-two"]
assert ids(filter="tiny") == ["admin/card-one", "admin/card-two"]
info = api.model_info("admin/card-one")
assert info.card_data.license == "mit" and info.pipeline_tag == "fill-mask" and "tiny" in info.tags, info
assert len(list(api.list_models(limit=1, search="card-"))) == 1
try: push("admin/card-one", "---\\nlicense: [\\n---\\n")
except ValueError: pass
else: raise SystemExit("bad YAML was taken")
print("all of it")
"""


def test_lists_are_filtered_by_what_cards_say(owner):
    assert "all of it" in owner.python(CARDS).stdout


DATASET = """
from datasets import load_dataset
rows = load_dataset("admin/rows", split="train")
assert rows[:]["text"] == ["hello", "world"], rows[:]
streamed = list(load_dataset("admin/rows", split="train", streaming=True))
assert [row["text"] for row in streamed] == ["hello", "world"], streamed
print("all of it")
"""


def test_datasets_loads_and_streams_what_was_uploaded(owner, tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "train.csv").write_text("text,label\nhello,1\nworld,0\n")
    owner.hf("upload", "admin/rows", tmp_path / "set", "--repo-type", "dataset")
    assert "all of it" in owner.python(DATASET, client="libraries").stdout


TRANSFORMERS = """
from transformers import AutoConfig, AutoTokenizer
config = AutoConfig.from_pretrained("admin/tiny")
assert config.hidden_size == 8, config
tokenizer = AutoTokenizer.from_pretrained("admin/tiny")
assert tokenizer.decode(tokenizer("hello world")["input_ids"], skip_special_tokens=True) == "hello world"
from safetensors import safe_open
from huggingface_hub import hf_hub_download
with safe_open(hf_hub_download("admin/tiny", "model.safetensors"), framework="np") as tensors:
    assert tensors.get_tensor("w").shape == (300000,)
print("all of it")
"""


def test_transformers_reads_configuration_and_tokenizer_of_a_tiny_model(owner, tmp_path):
    make_model(tmp_path / "tiny")
    (tmp_path / "tiny" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]))
    (tmp_path / "tiny" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    owner.hf("upload", "admin/tiny", tmp_path / "tiny")
    assert "all of it" in owner.python(TRANSFORMERS, client="libraries").stdout


FROM_PRETRAINED = """
import sys
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig, BertModel
made, repo = sys.argv[1:] if len(sys.argv) > 2 else (None, sys.argv[1])
sizes = dict(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
torch.manual_seed(7)
model = BertModel(BertConfig(**sizes))
if made:
    model.save_pretrained(made)
    sys.exit()
read = AutoModel.from_pretrained(repo)
assert AutoConfig.from_pretrained(repo).hidden_size == 8
assert AutoTokenizer.from_pretrained(repo).decode([5, 6]) == "hello world"
written, come = model.state_dict(), read.state_dict()
assert written.keys() == come.keys() and all(torch.equal(written[name], come[name]) for name in written)
print("all of it")
"""


@pytest.mark.skipif(not (PEERS / "torch").exists(), reason="--without torch")
def test_transformers_loads_the_weights_of_a_tiny_model_that_was_uploaded(owner, tmp_path):
    program = tmp_path / "tiny.py"
    program.write_text(FROM_PRETRAINED)
    torch = PEERS / "torch" / "bin" / "python"
    owner.run([torch, program, tmp_path / "made", "-"])
    (tmp_path / "made" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world"]))
    (tmp_path / "made" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    owner.hf("upload", "admin/pretrained", tmp_path / "made")
    assert "all of it" in owner.run([torch, program, "admin/pretrained"]).stdout


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="--without git-lfs")
def test_git_lfs_sends_and_fetches_large_files(owner, tmp_path):
    """The program itself, with the LFS endpoint of a repository; the commit is made over HTTP: we serve no git."""
    owner.hf("repos", "create", "admin/by-git")
    content = os.urandom(5_000_000)
    oid = hashlib.sha256(content).hexdigest()

    def git(folder, *arguments, **more):
        return owner.run(["git", "-C", folder, *arguments], **more)

    def work(name):
        folder = tmp_path / name
        owner.run(["git", "init", "--quiet", folder])
        for key, value in [
            ("user.email", "o@example.org"), ("user.name", "o"), ("http.sslCAInfo", owner.server.ca),
            ("remote.origin.url", f"{owner.server.url}/admin/by-git"),
            (f"http.{owner.server.url}/.extraHeader", f"Authorization: Bearer {owner.token}"),
        ]:
            git(folder, "config", key, value)
        git(folder, "lfs", "install", "--local")
        return folder

    sender = work("sender")
    git(sender, "lfs", "track", "*.bin")
    (sender / "weights.bin").write_bytes(content)
    git(sender, "add", ".")
    git(sender, "commit", "--quiet", "-m", "weights")
    git(sender, "lfs", "push", "--object-id", "origin", oid)
    line = {"key": "lfsFile", "value": {"path": "weights.bin", "algo": "sha256", "oid": oid, "size": len(content)}}
    body = f"{json.dumps({'key': 'header', 'value': {'summary': 'weights'}})}\n{json.dumps(line)}".encode()
    assert owner.http("POST", "/api/models/admin/by-git/commit/main", body).status == 200
    pointer = git(sender, "cat-file", "blob", "HEAD:weights.bin").stdout
    assert oid in pointer
    reader = work("reader")
    (reader / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (reader / "weights.bin").write_text(pointer)
    git(reader, "-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false", "add", ".")
    git(reader, "commit", "--quiet", "-m", "pointer")
    git(reader, "lfs", "pull")
    assert (reader / "weights.bin").read_bytes() == content


RULES = """
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi()
repo = "admin/rules"
api.create_repo(repo)
def large(path):
    return [item.lfs is not None for item in api.list_repo_tree(repo, recursive=True) if item.path == path]
api.upload_file(path_or_fileobj=b"tiny", path_in_repo="a.special", repo_id=repo)
assert large("a.special") == [False]
api.upload_file(path_or_fileobj=b"*.special filter=lfs diff=lfs merge=lfs -text\\n", path_in_repo=".gitattributes", repo_id=repo)
api.upload_file(path_or_fileobj=b"tiny", path_in_repo="b.special", repo_id=repo)
api.upload_file(path_or_fileobj=b"tiny", path_in_repo="c.safetensors", repo_id=repo)
assert large("b.special") == [True] and large("c.safetensors") == [False]
api.upload_file(path_or_fileobj=b"*.tmp\\nbuild/\\n", path_in_repo=".gitignore", repo_id=repo)
kept = [CommitOperationAdd(path, b"x") for path in ["keep.txt", "drop.tmp", "build/out.o"]]
api.create_commit(repo, kept, commit_message="some of it")
files = set(api.list_repo_files(repo))
assert "keep.txt" in files and not files & {"drop.tmp", "build/out.o"}, files
print("all of it")
"""


def test_a_repositorys_own_git_rules_are_kept(owner):
    assert "all of it" in owner.python(RULES).stdout
