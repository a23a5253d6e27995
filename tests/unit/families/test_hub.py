"""Laws of `families verify`, against a Hub on this machine: each state is found and named, and no token is told."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bloomery.cli import main
from bloomery.core.errors import InputError
from bloomery.core.secret import Secret
from bloomery.families.hub import Finding, verify
from bloomery.families.registry import read_family
from bloomery.recipes.fetching import rows_on_hub

THEN, NOW, OTHER = "a" * 40, "b" * 40, "c" * 40
TOKEN = "hf_a-token-that-must-not-be-told"
FAMILY = f"""\
name: tiny
title: Tiny
licence: Apache-2.0
architecture: LlamaForCausalLM
parameters: 100k
context: 128
tokenizer: hub
checkpoints:
  branch: {{repo: open/model, revision: stage1-step9}}
  tag: {{repo: open/model, revision: v1.0, commit: {NOW}}}
  pinned: {{repo: open/model, revision: {OTHER}}}
  unpinned: {{repo: open/model, revision: {"d" * 40}}}
  gone: {{repo: open/model, revision: stage1-step8}}
  moved: {{repo: open/model, revision: main, commit: {THEN}}}
  nowhere: {{repo: open/nothing, revision: main}}
  gated: {{repo: gated/model, revision: main}}
  secret: {{repo: gated/secret, revision: main}}
  broken: {{repo: open/broken, revision: main}}
  here: {{folder: weights}}
curated:
  mix:
    - {{name: rows, hf: open/rows, config: maths, share: 20%}}
    - {{name: every-split, hf: open/rows, config: talk, split: all, share: 5%}}
    - {{name: no-config, hf: open/rows, share: 5%}}
    - {{name: no-split, hf: open/rows, config: talk, share: 5%}}
    - {{name: by-address, path: "hf://open/rows/talk/*.parquet", share: 2%}}
    - {{name: no-file, path: "hf://open/rows/chat/*.parquet", share: 3%}}
    - {{name: lost-rows, hf: open/no-rows, share: 30%}}
    - {{name: old-rows, hf: open/rows, revision: v9, share: 20%}}
    - {{name: closed-rows, hf: gated/rows, share: 10%}}
"""
STATES = {
    "branch": "present", "tag": "present", "pinned": "present", "unpinned": "missing", "gone": "missing",
    "moved": "moved", "nowhere": "missing", "gated": "gated", "secret": "gated", "broken": "unclear",
    "mix/rows": "present", "mix/every-split": "present", "mix/no-config": "missing", "mix/no-split": "missing",
    "mix/by-address": "present", "mix/no-file": "missing",
    "mix/lost-rows": "missing", "mix/old-rows": "missing", "mix/closed-rows": "gated",
}  # fmt: skip
REFS = {"branches": [["main", NOW], ["stage1-step9", THEN]], "tags": [["v1.0", NOW]]}
CARD = {
    "license": "odc-by",
    "configs": [
        {"config_name": "maths", "data_files": [{"split": "train", "path": "maths/*.parquet"}]},
        {"config_name": "talk", "data_files": [{"split": s, "path": f"talk/{s}*"} for s in ("short", "long")]},
    ],
}
"""The card of `open/rows`: a configuration for each subject, splits that are called after their source."""
FILES = ["README.md", "maths/0.parquet", "talk/short-0.parquet", "talk/long-0.parquet"]

KNOWN = {False: ("open/model", "gated/model", "gated/secret"), True: ("open/rows", "gated/rows")}
"""Models, and data sets."""


class Recorded(BaseHTTPRequestHandler):
    """What the Hub answered, by path; the gated repository opens to one token."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        data = self.path.startswith("/api/datasets/")
        name, _, rest = self.path.removeprefix("/api/datasets/" if data else "/api/models/").partition("/")
        repository, _, what = f"{name}/{rest}".rpartition("/") if "/revision/" not in self.path else ("", "", "")
        self.asked.append((self.path, self.headers.get("authorization")))
        allowed = self.headers.get("authorization") == f"Bearer {TOKEN}"
        if self.path == f"/api/models/open/model/revision/{OTHER}":
            self.answer(200, {"id": "open/model", "sha": OTHER})
        elif self.path.startswith(f"/api/datasets/open/rows/revision/{NOW}"):
            self.answer(200, {"id": "open/rows", "sha": NOW, "cardData": CARD})
        elif self.path.startswith(f"/api/datasets/gated/rows/revision/{NOW}") and allowed:
            self.answer(200, {"id": "gated/rows", "sha": NOW})
        elif f"/rows/tree/{NOW}" in self.path and (allowed or "/open/" in self.path):
            self.answer(200, [{"type": "file", "path": name, "size": 9, "oid": "0" * 40} for name in FILES])
        elif "/revision/" in self.path:
            self.answer(404, {"error": "Invalid rev id"}, "RevisionNotFound")
        elif repository == "open/broken":
            self.answer(503, {"error": "busy"})
        elif repository == "gated/secret" and not allowed:
            self.answer(401, {"error": "gated"}, "GatedRepo")
        elif what == "refs" and repository in KNOWN[data]:
            self.answer(200, {**{k: [self.ref(*ref) for ref in v] for k, v in REFS.items()}, "converts": []})
        elif what == "auth-check" and (repository in ("open/model", "open/rows") or allowed):
            self.answer(200, {})
        elif what == "auth-check" and repository in ("gated/model", "gated/rows"):
            self.answer(401, {"error": "Access to model gated/model is restricted"}, "GatedRepo")
        else:
            self.answer(404, {"error": "Repository not found"}, "RepoNotFound")

    @staticmethod
    def ref(name: str, commit: str) -> dict[str, str]:
        return {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}

    def answer(self, status: int, body: Any, code: str | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorded]]:
    """A Hub on this machine that the client is pointed at."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Recorded.asked.clear()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    yield Recorded
    server.shutdown()
    server.server_close()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the family in ./families."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "families").mkdir()
    path = tmp_path / "families" / "tiny.yaml"
    path.write_text(FAMILY)
    return path


def found(path: Path, token: Secret | None = None) -> dict[str, Finding]:
    return {finding.stage: finding for finding in verify([read_family(path)], rows_on_hub(), token)}


@pytest.fixture
def bloomery(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(("families", "verify", *arguments))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out + told.err

    return call


def test_every_state_is_found(hub: type[Recorded], tiny: Path) -> None:
    states = found(tiny)
    assert {stage: finding.state for stage, finding in states.items()} == STATES
    assert states["gone"].detail == "the repository has no such revision (the nearest is `stage1-step9`)"
    assert states["moved"].detail == f"it was commit {THEN[:12]} and is {NOW[:12]}"
    assert states["moved"].commit == states["tag"].commit == NOW
    assert "accept its licence" in states["gated"].detail
    assert states["nowhere"].detail == "there is no such repository, or it is private"
    assert states["broken"].detail == "the Hub answered 503"


def test_a_data_set_without_the_configuration_split_or_file_that_a_run_would_read_is_missing(
    hub: type[Recorded], tiny: Path
) -> None:
    said = {stage: finding.detail for stage, finding in found(tiny).items()}
    assert said["mix/no-config"] == "`hf: open/rows` has 2 configurations, and none of them is the default"
    assert said["mix/no-split"] == "`hf: open/rows` has no split `train`; it has long, short"
    assert said["mix/no-file"] == "`path: hf://open/rows/chat/*.parquet` matches no file of the dataset"
    assert said["mix/rows"] == said["mix/every-split"] == said["mix/by-address"] == ""


def test_a_repository_is_asked_for_once(hub: type[Recorded], tiny: Path) -> None:
    found(tiny)
    paths = [path for path, _ in hub.asked]
    assert sum(path.startswith("/api/datasets/open/rows/tree/") for path in paths) == 1
    assert paths.count("/api/models/open/model/refs") == paths.count("/api/models/open/model/auth-check") == 1


def test_a_gated_repository_opens_to_the_named_token_alone(
    hub: type[Recorded], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # set, but not named
    assert found(tiny)["gated"].state == "gated"
    assert {token for _, token in hub.asked} == {None}
    monkeypatch.setenv("OUR_HUB_TOKEN", TOKEN)
    opened = found(tiny, Secret("OUR_HUB_TOKEN"))
    assert (opened["gated"].state, opened["secret"].state) == ("present", "present")
    monkeypatch.delenv("OUR_HUB_TOKEN")
    with pytest.raises(InputError, match="OUR_HUB_TOKEN is not set"):
        found(tiny, Secret("OUR_HUB_TOKEN"))


def test_what_is_wrong_is_printed_by_name_and_ends_with_status_2(
    hub: type[Recorded], tiny: Path, bloomery: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_HUB_TOKEN", TOKEN)
    status, text = bloomery("tiny", "--token-env", "OUR_HUB_TOKEN")
    assert status == 2
    assert "tiny/gone  open/model@stage1-step8  missing: the repository has no such revision" in text
    assert f"tiny/moved  open/model@main  moved: it was commit {THEN[:12]}" in text
    assert "tiny/mix/lost-rows  open/no-rows@main  missing: there is no such repository" in text
    assert "9 present, 8 missing, 1 moved, 1 unclear" in text
    assert TOKEN not in text


def test_gated_alone_is_no_fault(hub: type[Recorded], tiny: Path, bloomery: Callable[..., tuple[int, str]]) -> None:
    rows = ("no-config", "no-split", "no-file", "lost-rows", "old-rows")
    wrong = ("unpinned", "gone", "moved", "nowhere", "broken", *(f"mix/{name}" for name in rows))
    keys = (*wrong[:5], *(f"- {{name: {name}" for name in rows))
    text = FAMILY.replace("share: 20%}", "share: 83%}", 1)
    tiny.write_text("\n".join(line for line in text.splitlines() if not line.strip().startswith(keys)) + "\n")
    status, text = bloomery("tiny", "--json")
    assert status == 0
    told = {finding["stage"]: finding for finding in json.loads(text)}
    assert {stage: told[stage]["state"] for stage in told} == {s: v for s, v in STATES.items() if s not in wrong}
    assert told["branch"]["commit"] == THEN


def test_offline_is_said_and_no_fault(
    tiny: Path, bloomery: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    status, text = bloomery("tiny")
    assert status == 0
    assert text.count("offline: the Hub cannot be reached") == len(STATES)
    assert f"{len(STATES)} offline" in text


def test_the_environment_can_forbid_asking(hub: type[Recorded], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert {finding.state for finding in found(tiny).values()} == {"offline"}
    assert hub.asked == []


def test_every_shipped_family_is_looked_up_without_an_argument(
    hub: type[Recorded], bloomery: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, text = bloomery()
    assert status == 2  # the Hub here knows none of them
    assert "olmo2-1b/pretrained  allenai/OLMo-2-0425-1B@stage1-step1907359-tokens4001B  missing" in text
    assert "ember/" not in text


def test_a_family_in_folders_has_nothing_to_look_up(bloomery: Callable[..., tuple[int, str]]) -> None:
    assert bloomery("ember") == (0, "nothing of it lies on the Hub\n")


def test_the_client_is_loaded_only_when_the_hub_is_asked() -> None:
    import subprocess

    code = "import sys, bloomery.families.hub, bloomery.cli.families; assert 'huggingface_hub' not in sys.modules"
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(root / "src")}, check=True)
