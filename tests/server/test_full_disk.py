"""A disk that is full refuses, loses nothing, and is forgiven once there is room again."""

import contextlib
import hashlib
import os
import shutil
import subprocess

import pytest

from conftest import commit

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


@contextlib.contextmanager
def small_disk(server, folder, size):
    """The server's objects on a file system of this size. Gives the folder."""
    server.stop()
    small = folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", small])
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount")
    try:
        shutil.copytree(server.data / "objects", small, dirs_exist_ok=True)
        subprocess.run(["mount", "--bind", small, server.data / "objects"], check=True)
        server.start()
        yield small
    finally:
        server.stop()
        subprocess.run(["umount", server.data / "objects"])
        subprocess.run(["umount", small])


def test_a_full_disk_gets_507_and_leaves_what_was_committed(make_server, tmp_path):
    server = make_server()
    owner = server.owner
    owner.hf("repos", "create", "admin/x")
    commit(owner, "admin/x", {"a.md": b"words"})
    with small_disk(server, tmp_path, "6m"):
        content = os.urandom(9_000_000)
        objects = [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}]
        offer = {"operation": "upload", "transfers": ["basic"], "objects": objects}
        offer = owner.http("POST", "/admin/x.git/info/lfs/objects/batch", offer).json()
        href = offer["objects"][0]["actions"]["upload"]["href"].removeprefix(server.url)
        answer = owner.http("PUT", href, content)
        assert answer.status == 507, (answer.status, answer.body)
        assert owner.http("GET", "/admin/x/resolve/main/a.md").body == b"words"
        # What was staged is gone, and there is room again.
        commit(owner, "admin/x", {"b.md": os.urandom(1_000_000)})


def test_a_repository_whose_first_commit_failed_is_whole_once_its_owner_asks_again(make_server, tmp_path):
    server = make_server()
    owner, reader = server.owner, server.person("reader", ("reader", "admin"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.md").write_text("words")
    with small_disk(server, tmp_path, "1m") as small:
        with contextlib.suppress(OSError), open(small / "filler", "wb") as filler:
            while filler.write(bytes(4096)):
                filler.flush()
        made = owner.http("POST", "/api/repos/create", {"name": "half", "organization": "admin"})
        assert made.status == 507, (made.status, made.body)
        (small / "filler").unlink()
        # A reader's asking makes nothing: it is not hers to write.
        reader.http("POST", "/api/repos/create", {"name": "half", "organization": "admin"})
        assert reader.http("GET", "/api/models/admin/half/revision/main").status == 404
        owner.hf("upload", "admin/half", folder)
        assert owner.http("GET", "/admin/half/resolve/main/a.md").body == b"words"
        history = owner.http("GET", "/api/models/admin/half/commits/main").json()
        assert [commit["title"] for commit in history][-1] == "initial commit" and len(history) == 2
