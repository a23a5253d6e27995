"""Remote sources: fetched once, read like local files, and refused with a reason when they cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tokens import jsonl

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.data.sources import iter_records, source_files


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A dataset repository on disk in place of the Hub; gives the calls that were made."""
    root = tmp_path / "snapshot"
    for name in ("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test.jsonl"):
        jsonl(root / name, [{"text": name}])
    jsonl(root / "fr/train/0000.jsonl", [{"text": "fr"}])
    (root / "README.md").write_text("train")
    calls: list[dict[str, Any]] = []

    def snapshot(repository: str, **options: Any) -> str:
        calls.append({"repository": repository, **options})
        return str(root)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return calls


def read(**spec: Any) -> list[str]:
    return [record.fields["text"] for record in iter_records(SourceSpec(**spec), Path())]


def test_a_hub_dataset_gives_the_files_of_its_split_and_configuration(hub: list[dict[str, Any]]) -> None:
    assert read(hf="owner/name", config="fr") == ["fr"]
    assert read(hf="owner/name", split="test", revision="abc") == ["data/test.jsonl"]
    assert hub[-1]["repository"] == "owner/name" and hub[-1]["revision"] == "abc" and hub[-1]["repo_type"] == "dataset"
    assert "*test*.parquet" in hub[-1]["allow_patterns"]
    assert [p.name for p in source_files(SourceSpec(hf="owner/name"), Path())][:2] == [
        "train-00000-of-00002.jsonl",
        "train-00001-of-00002.jsonl",
    ]
    with pytest.raises(InputError, match="no data file for split `dev`"):
        read(hf="owner/name", split="dev")


def test_a_hub_path_names_files_and_a_revision(hub: list[dict[str, Any]]) -> None:
    assert read(path="hf://owner/name@v2/data/train-*.jsonl") == [
        "data/train-00000-of-00002.jsonl",
        "data/train-00001-of-00002.jsonl",
    ]
    assert hub[-1]["revision"] == "v2" and hub[-1]["allow_patterns"] == ["data/train-*.jsonl"]
    with pytest.raises(InputError, match="matches no file of the dataset"):
        read(path="hf://owner/name/nope.jsonl")
    with pytest.raises(InputError, match="names no file"):
        read(path="hf://owner/name")


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server in place of the Hub that has nothing: its address, and the paths it was asked for."""
    paths: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


FETCH = """
import bloomery.models  # as a run does, before any data is read
from huggingface_hub import is_offline_mode
from bloomery.data.remote import fetch
try:
    fetch("hf://owner/name/rows.jsonl")
except Exception as error:
    assert "cannot be fetched" in str(error) or "no data set" in str(error) or "is forbidden" in str(error), error
print(is_offline_mode())
"""


@pytest.mark.parametrize(("stated", "reached"), [({}, True), ({"HF_HUB_OFFLINE": "1"}, False)])
def test_named_data_is_fetched_though_models_are_offline_unless_the_user_is_offline(
    asked: tuple[str, list[str]], tmp_path: Path, stated: dict[str, str], reached: bool
) -> None:
    address, paths = asked
    own = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    own |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", FETCH], env=own | stated, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
    assert any("owner/name" in path for path in paths) == reached


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match="`owner/none` is not in the Hub's cache, and the network is forbidden"
    ) as error:
        read(hf="owner/none")
    assert "hf download owner/none --repo-type dataset" in str(error.value)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    waited: list[float] = []
    monkeypatch.setattr("bloomery.core.hub.time.sleep", waited.append)
    with pytest.raises(InputError, match="the data set `owner/none` cannot be fetched from the Hub") as error:
        read(hf="owner/none")
    assert waited == [1.0, 4.0]
    assert "check your network" in str(error.value)


def test_objects_are_copied_once_per_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/rows/a.jsonl", b'{"text": "one"}\n')
    fetched: list[str] = []
    original = memory.get_file
    monkeypatch.setattr(memory, "get_file", lambda name, to: (fetched.append(name), original(name, to)))
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path))
    assert read(path="memory://bucket/rows/*.jsonl") == ["one"]
    assert read(path="memory://bucket/rows/a.jsonl") == ["one"]
    assert len(fetched) == 1
    memory.pipe("/bucket/rows/a.jsonl", b'{"text": "changed"}\n')
    assert read(path="memory://bucket/rows/a.jsonl") == ["changed"]
    with pytest.raises(InputError, match=r"`path: memory://bucket/none.jsonl` cannot be read"):
        read(path="memory://bucket/none.jsonl")
    with pytest.raises(InputError, match="matches no object"):
        read(path="memory://bucket/none/*.jsonl")
    memory.rm("/bucket", recursive=True)


def test_a_missing_extra_and_an_unknown_scheme_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match="needs the extra `s3`") as error:
        read(path="s3://bucket/a.jsonl")
    assert "pip install 'bloomery[s3]'" in str(error.value)
    with pytest.raises(InputError, match="reading `gs://` needs gcsfs"):
        read(path="gs://bucket/a.jsonl")
    monkeypatch.undo()
    for scheme in ("s4", "simplecache::s3"):
        with pytest.raises(InputError, match=f"`{scheme}://` is not supported"):
            read(path=f"{scheme}://host/a.jsonl")
