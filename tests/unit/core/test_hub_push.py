"""A push makes one private commit of a model's own files, or says what stands against it; nothing is written over."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.core.hub_push import push_folder
from bloomery.core.secret import Secret

TOKEN, READER = "hf_writer-token", "hf_reader-token"
THEN, NOW = "a" * 40, "b" * 40


class Hub(BaseHTTPRequestHandler):
    """A Hub with the repository `org/there`; large files go to its storage, small ones into the commit."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    made: list[dict[str, Any]]
    stored: dict[str, bytes]
    commits: list[list[dict[str, Any]]]
    parents: list[str | None]
    head = THEN
    fail: dict[str, int]

    def do_GET(self) -> None:
        self.handle_("GET")

    def do_POST(self) -> None:
        self.handle_("POST")

    def do_PUT(self) -> None:
        self.stored[self.path.removeprefix("/storage/")] = self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, {})

    def handle_(self, verb: str) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        self.asked.append(f"{verb} {path}")
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        status = next((status for part, status in self.fail.items() if part in path), 0)
        if status:
            self.answer(status, {"error": "as the test wants"})
        elif token not in (TOKEN, READER):
            self.answer(401, {"error": "Invalid credentials"})
        elif path == "/api/whoami-v2":
            self.answer(200, {"name": "me", "type": "user"})
        elif path.startswith("/api/models/") and verb == "GET":
            self.repository(path)
        elif token == READER:
            self.answer(403, {"error": "You don't have the rights"})
        else:
            self.write(path, raw)

    def repository(self, path: str) -> None:
        if "/org/there" not in path:
            self.answer(404, {"error": "Repository not found"}, "RepoNotFound")
        elif "/tree/" in path:
            self.answer(200, [{"type": "file", "path": p, "oid": "0", "size": 1} for p in OLD])
        else:
            files = [{"rfilename": name} for name in OLD]
            self.answer(200, {"id": "org/there", "modelId": "org/there", "sha": self.head, "siblings": files})

    def write(self, path: str, raw: bytes) -> None:
        if path == "/api/repos/create":
            self.made.append(json.loads(raw))
            self.answer(200, {"url": f"http://{self.headers['host']}/org/new"})
        elif "/preupload/" in path:
            files = [f["path"] for f in json.loads(raw)["files"]]
            modes = [{"path": f, "uploadMode": "lfs" if f.endswith(".safetensors") else "regular"} for f in files]
            self.answer(200, {"files": [{**m, "shouldIgnore": False} for m in modes]})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"http://{self.headers['host']}/storage/{o['oid']}"}}}
                for o in json.loads(raw)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects}, kind="application/vnd.git-lfs+json")
        elif "/commit/" in path:
            lines = [json.loads(line) for line in raw.decode().splitlines()]
            self.parents.append(lines[0]["value"].get("parentCommit"))
            self.commits.append(lines)
            self.answer(200, {"commitOid": NOW, "commitUrl": f"http://{self.headers['host']}/org/new/commit/{NOW}"})
        else:
            self.answer(200, {"errors": [], "warnings": []})

    def answer(self, status: int, value: Any, code: str = "", kind: str = "application/json") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if code:
            self.send_header("x-error-code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


OLD = ("README.md", "model-00001-of-00002.safetensors", "notes.txt")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    for name, value in {"asked": [], "made": [], "stored": {}, "commits": [], "parents": [], "fail": {}}.items():
        monkeypatch.setattr(Hub, name, value, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    monkeypatch.setenv("HUB_WRITER", TOKEN)
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Card\n")
    return folder


def push(folder: Path, repo: str, *, env: str = "HUB_WRITER", **options: bool) -> str:
    asked = {"update": False, "public": False, **options}
    return push_folder(folder, repo, Secret(env), message="a run", **asked)


def sent(hub: type[Hub]) -> dict[str, str]:
    """Path -> how it came, of the last commit."""
    return {line["value"]["path"]: line["key"] for line in hub.commits[-1] if line["key"] != "header"}


def test_a_new_repository_is_private_and_holds_every_file_as_one_commit(hub: type[Hub], model: Path) -> None:
    assert push(model, "org/new") == NOW
    [made] = hub.made
    assert (made["name"], made["organization"], made["visibility"]) == ("new", "org", "private")
    assert sent(hub) == {"model.safetensors": "lfsFile", "config.json": "file", "README.md": "file"}
    digest = hashlib.sha256(b"weights" * 1000).hexdigest()
    assert hub.stored == {digest: b"weights" * 1000}
    assert len(hub.commits) == 1


def test_a_public_repository_is_asked_for(hub: type[Hub], model: Path) -> None:
    push(model, "org/new", public=True)
    assert hub.made[0]["visibility"] == "public"


def test_what_is_there_is_written_over_only_when_asked_and_loses_old_weights(hub: type[Hub], model: Path) -> None:
    with pytest.raises(InputError, match=r"org/there is there already\n  fix: add --update"):
        push(model, "org/there")
    assert (hub.commits, hub.made, hub.stored) == ([], [], {})
    assert push(model, "org/there", update=True) == NOW
    assert hub.made == []
    assert sent(hub)["model-00001-of-00002.safetensors"] == "deletedFile"
    assert "notes.txt" not in sent(hub)
    assert hub.parents == [THEN]


def test_a_token_without_the_right_is_named_and_never_told(
    hub: type[Hub], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_READER", READER)
    with pytest.raises(InputError, match="access token in HUB_READER may not write to `org/new`") as refused:
        push(model, "org/new", env="HUB_READER")
    assert READER not in str(refused.value)
    monkeypatch.setenv("HUB_WRONG", "hf_nobody-knows-it")
    with pytest.raises(InputError, match="the Hub does not know the access token in HUB_WRONG"):
        push(model, "org/new", env="HUB_WRONG")
    with pytest.raises(InputError, match="HUB_UNSET is not set"):
        push(model, "org/new", env="HUB_UNSET")
    assert hub.commits == []


def test_a_repository_that_changed_meanwhile_is_left_alone(hub: type[Hub], model: Path) -> None:
    hub.fail["/commit/"] = 412
    with pytest.raises(InputError, match="`org/there` was changed while it was being pushed to"):
        push(model, "org/there", update=True)


def test_a_hub_that_breaks_half_way_says_that_the_repository_is_made(hub: type[Hub], model: Path) -> None:
    hub.fail["/info/lfs/"] = 422  # the client itself tries again after a 5xx
    with pytest.raises(
        InputError, match=r"(?s)cannot be pushed to the Hub.*is made and empty: run again with --update"
    ):
        push(model, "org/new")
    assert len(hub.made) == 1
    assert hub.commits == []


def test_a_card_that_the_hub_does_not_take_is_told(hub: type[Hub], model: Path) -> None:
    hub.fail["/api/validate-yaml"] = 400
    with pytest.raises(InputError, match="`org/new` cannot be pushed to the Hub"):
        push(model, "org/new")
    assert hub.commits == []


def test_a_dead_hub_and_a_forbidden_network_are_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_WRITER", TOKEN)
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    with pytest.raises(InputError, match=r"(?s)`org/new` cannot be pushed to the Hub.*check your network"):
        push(model, "org/new")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="`org/new` cannot be pushed: the network is forbidden"):
        push(model, "org/new")
