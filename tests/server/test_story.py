"""The story that README tells, replayed word for word: who types what, and what they are shown."""

import re
import subprocess
from pathlib import Path

from conftest import PEERS, PROGRAM, Person, Server

README = Path(__file__).parents[2] / "README.md"
TOKEN = re.compile(r"srt_[A-Za-z0-9_-]{20,}")


def told():
    """The transcript: (who, command, the lines that follow)."""
    text = README.read_text().split("\n## A story\n")[1].split("\n## ")[0]
    steps = []
    for line in re.findall(r"(?m)^    (.*)$", text):
        typed = re.match(r"(\w+)\$ (.*)$", line)
        if typed:
            steps.append((typed[1], typed[2], []))
        else:
            steps[-1][2].append(line)
    return steps


def is_like(shown, wanted):
    """The first wanted line that does not stand among those that were shown, each for itself; `…` is anything. Clients fetch several
    files at once: in which order is not told."""
    lines = shown.splitlines()
    for want in wanted:
        pattern = re.compile("".join(".*" if part == "…" else r"\s+" if part.isspace() else re.escape(part) for part in re.split(r"(…|\s+)", want)))
        found = next((line for line in lines if pattern.search(line)), None)
        if found is None:
            return want
        lines.remove(found)
    return None


def test_the_story_in_the_readme_happens_as_it_is_told(tmp_path_factory):
    steps = told()
    assert {who for who, _, _ in steps} >= {"admin", "olga", "bob", "ada", "auditor"} and len(steps) > 15
    folder = tmp_path_factory.mktemp("story")
    (folder / "server").mkdir()
    server = Server(folder / "server")
    (folder / "bin").mkdir()
    (folder / "bin" / "strongroom").symlink_to(PROGRAM)
    (folder / "bin" / "hf").symlink_to(PEERS / "current" / "bin" / "hf")
    desks, last, key = {}, server.owner.token, None
    try:
        for who, command, wanted in steps:
            if who not in desks:
                home = folder / who
                home.mkdir()
                environment = Person(server, None, home).environment()
                desks[who] = {**environment, "PATH": f"{folder / 'bin'}:{environment['PATH']}", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
            if command.startswith("export "):
                # The token that was shown last, or the first one, is what whoever types it was given.
                assert command.endswith("=srt_…"), command
                for name in re.findall(r"\w+_TOKEN", command):
                    desks[who][name] = last
                continue
            command = command.replace("strongroom+…", key or "strongroom+…")
            if command.startswith("strongroom incident verify"):
                # Offline: the bundle came by other ways, and there is no server any more.
                server.stop()
                (folder / who / "evidence.jsonl").write_bytes((folder / "ada" / "evidence.jsonl").read_bytes())
                desks[who] = {"PATH": desks[who]["PATH"], "HOME": desks[who]["HOME"]}
            done = subprocess.run(["bash", "-c", command], env=desks[who], cwd=folder / who, capture_output=True, text=True, timeout=120)
            shown = done.stdout + done.stderr
            missing = is_like(shown, wanted)
            assert missing is None, f"{who}$ {command}\nnot shown: {missing}\n--\n{shown}\n--\n{server.log()}"
            last = (TOKEN.findall(shown) or [last])[-1]
            key = (re.findall(r"strongroom\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", shown) or [key])[-1]
        # What the partner has is what was shared, and nothing else of it ever came.
        got = sorted(path.name for path in (folder / "bob" / "copy").rglob("*") if path.is_file() and ".cache" not in path.parts)
        assert got == [".gitattributes", "README.md", "config.json"]
    finally:
        server.stop()
