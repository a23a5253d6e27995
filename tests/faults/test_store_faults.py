"""The token store under faults: flipped bits, missing pieces, kills and full disks never give wrong tokens."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tokens import jsonl, texts, tokenizer_folder

from bloomery.core.errors import DamagedError
from bloomery.data.config import SourceSpec
from bloomery.data.render import Renderer
from bloomery.data.store import TokenStore, build_store

SPEC = SourceSpec(path="rows.jsonl")
FLIPS = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("store")
    jsonl(base / "rows.jsonl", texts(60))
    tokenizer_folder(base / "tokenizer")
    return base


@pytest.fixture(scope="module")
def store(folder: Path) -> TokenStore:
    return build_store("rows", SPEC, folder, Renderer(folder / "tokenizer"), folder / "cache")


def test_every_single_flipped_bit_is_refused_by_name(store: TokenStore, tmp_path: Path) -> None:
    draw = random.Random(0)
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    files = sorted(path for path in copy.iterdir() if path.stat().st_size)
    refused = 0
    for number in range(FLIPS):
        path = files[number % len(files)]
        whole = path.read_bytes()
        bit = draw.randrange(len(whole) * 8)
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(broken))
        with pytest.raises(DamagedError) as error:
            TokenStore(copy)
        assert "it is built again" in str(error.value)
        refused += 1
        path.write_bytes(whole)
    assert refused == FLIPS
    assert TokenStore(copy).n_tokens == store.n_tokens


@pytest.mark.parametrize("harm", ["truncate", "remove", "empty", "no manifest"])
def test_missing_pieces_are_refused_and_the_remedy_works(folder: Path, tmp_path: Path, harm: str) -> None:
    renderer, cache = Renderer(folder / "tokenizer"), tmp_path / "cache"
    built = build_store("rows", SPEC, folder, renderer, cache)
    victim = built.path / ("manifest.json" if harm == "no manifest" else "ids.bin")
    if harm in ("remove", "no manifest"):
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-1] if harm == "truncate" else b"")
    with pytest.raises(DamagedError, match=r"delete .*rows-"):
        build_store("rows", SPEC, folder, renderer, cache)
    shutil.rmtree(built.path)
    assert build_store("rows", SPEC, folder, renderer, cache).n_tokens == built.n_tokens


PROGRAM = """
import sys, time
from pathlib import Path
from bloomery.data import documents
from bloomery.data.config import SourceSpec
from bloomery.data.render import Renderer
from bloomery.data.store import build_store
documents.BATCH_ROWS, documents.SMALL = 50, 9999
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
renderer = Renderer(folder / "tokenizer")
print("ready", flush=True)
build_store("rows", SourceSpec(path="rows.jsonl"), folder, renderer, cache, workers=2)
print("done", flush=True)
"""


def test_a_killed_build_leaves_no_store_and_the_next_one_is_whole(folder: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    shutil.copytree(folder / "tokenizer", big / "tokenizer")
    jsonl(big / "rows.jsonl", texts(3000, words=60))
    cache = tmp_path / "cache"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for delay in (0.02, 0.2, 0.5, 0.9):
        arguments = [sys.executable, "-c", PROGRAM, str(big), str(cache)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in (cache / "tokens").glob("rows-*"):
            TokenStore(path)  # whatever bears a store's name is whole
    built = build_store("rows", SourceSpec(path="rows.jsonl"), big, Renderer(big / "tokenizer"), cache)
    assert built.n_docs == 3000
    assert [path.name for path in (cache / "tokens").iterdir() if path.name.endswith(".building")] == []


def test_a_full_disk_leaves_nothing_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(folder / "tokenizer")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bloomery.data.writer.StoreWriter.add", full)
    with pytest.raises(OSError, match="No space left"):
        build_store("rows", SPEC, folder, renderer, tmp_path)
    assert [path.name for path in (tmp_path / "tokens").iterdir() if not path.name.endswith(".lock")] == []
    monkeypatch.undo()
    assert build_store("rows", SPEC, folder, renderer, tmp_path).n_docs == 60
