"""The token store: built once from the same content, in any number of processes, to the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokens import UNMARKED, jsonl, pairs, texts, tokenizer_folder

from bloomery.core.errors import BloomeryError, InputError
from bloomery.data import documents, keys, pool
from bloomery.data.config import SourceSpec
from bloomery.data.render import Renderer
from bloomery.data.rows import RowTable
from bloomery.data.store import TokenStore, build_store

SPEC = SourceSpec(path="rows.jsonl")


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(tokenizer_folder(tmp_path_factory.mktemp("tokenizer")))


def built(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "tokens").iterdir() if not path.name.endswith(".lock"))


def contents(store: TokenStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.path.glob("*.bin")}


def test_documents_come_back_as_rendered(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", pairs(9))
    store = build_store("pairs", SPEC, tmp_path, renderer, tmp_path / "cache")
    from bloomery.data.shapes import detect, to_example
    from bloomery.data.sources import iter_records

    records = list(iter_records(SPEC, tmp_path))
    columns = detect(records[0], SPEC)
    for index, record in enumerate(records):
        ids, trained = renderer.encode(to_example(record, columns))
        stored, mask, name = store.document(index)
        assert stored.tolist() == ids.tolist() and mask.tolist() == trained.tolist()
        assert name == record.fields["id"] and store.records[index] == index
        assert store.lengths[index] == len(ids)
        part, flags = store.tokens(index, 3, 11)
        assert part.tolist() == ids[3:11].tolist() and flags.tolist() == trained[3:11].tolist()
    assert store.n_tokens == store.stats.tokens == int(store.lengths.sum())
    assert store.columns.startswith("prompt: prompt <- prompt (guessed)")


def test_bytes_of_text_are_counted_for_bits_per_byte(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"text": "Grüße"}, {"text": "abc"}])
    store = build_store("t", SPEC, tmp_path, renderer, tmp_path / "cache")
    assert store.text_bytes.tolist() == [7, 3]


def test_an_unchanged_source_is_not_read_again(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(tmp_path / "rows.jsonl", texts(20))
    first = build_store("t", SPEC, tmp_path, renderer, tmp_path / "cache")
    monkeypatch.setattr("bloomery.data.store._build", lambda *a: pytest.fail("built again"))
    monkeypatch.setattr("bloomery.data.keys.sha256_file", lambda path: pytest.fail("read again"))
    assert build_store("t", SPEC, tmp_path, renderer, tmp_path / "cache").path == first.path


def test_the_key_follows_content_not_names_or_times(renderer: Renderer, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", texts(20))
    cache = tmp_path / "cache"
    first = build_store("t", SPEC, tmp_path, renderer, cache)
    os.utime(path, ns=(1, 1))
    assert build_store("t", SPEC, tmp_path, renderer, cache).path == first.path
    copy = jsonl(tmp_path / "copy" / "rows.jsonl", texts(20))
    assert build_store("t", SPEC, copy.parent, renderer, cache).path == first.path
    changed = path.read_text().replace("Document 3", "Document 4")
    path.write_text(changed)
    assert build_store("t", SPEC, tmp_path, renderer, cache).path != first.path


def test_tokenizer_template_and_columns_are_part_of_the_key(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", pairs(5))
    cache = tmp_path / "cache"
    build_store("t", SPEC, tmp_path, renderer, cache)
    other = Renderer(renderer.folder, template=UNMARKED)
    build_store("t", SPEC, tmp_path, other, cache)
    turned = SourceSpec(path="rows.jsonl", columns={"prompt": "response", "response": "prompt"})
    build_store("t", turned, tmp_path, renderer, cache)
    assert len(built(cache)) == 3


def test_a_generated_source_is_stored_by_its_options(renderer: Renderer, tmp_path: Path) -> None:
    for count in (3, 4, 3):
        spec = SourceSpec(builtin="skills", options={"count": count})
        assert build_store("skills", spec, tmp_path, renderer, tmp_path).n_docs == count
    assert len(built(tmp_path)) == 2


@pytest.mark.parametrize(
    ("builtin", "package", "kept"),
    [
        ("documentation", "unrelated", True),
        ("documentation", "numpy", False),
        ("chat", "numpy", False),
        ("skills", "numpy", True),
    ],
)
def test_only_the_packages_that_a_source_reads_are_part_of_its_key(
    builtin: str, package: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        keys._documented.cache_clear()
        return keys.store_key(SourceSpec(builtin=builtin), tmp_path, "", tmp_path)

    before = key()
    about = tmp_path / f"{package}-99.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n")
    (about / "top_level.txt").write_text(package)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert (key() == before) == kept
    keys._documented.cache_clear()


def test_many_processes_store_the_same_bytes_as_one(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BATCH_ROWS", 4)
    monkeypatch.setattr(documents, "SMALL", 1000)
    jsonl(tmp_path / "rows.jsonl", [*pairs(100), {"id": None, "prompt": "Grüße 😀", "response": "x"}])
    alone = build_store("t", SPEC, tmp_path, renderer, tmp_path / "one", workers=1)
    seen: list[int] = []
    together = build_store(
        "t", SPEC, tmp_path, renderer, tmp_path / "two", workers=2, progress=lambda rows, tokens: seen.append(rows)
    )
    assert contents(alone) == contents(together)
    assert seen == sorted(seen) and seen[-1] == 101
    assert together.example_id(100) == "rows.jsonl:101"


def test_a_bad_row_is_named_from_a_worker_too(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BATCH_ROWS", 4)
    monkeypatch.setattr(documents, "SMALL", 1000)
    jsonl(tmp_path / "rows.jsonl", [*texts(60), {"id": "bad", "text": None}, *texts(20)])
    with pytest.raises(InputError, match=r"rows.jsonl:61: column `text` \(text\) must hold text, it is empty") as error:
        build_store("t", SPEC, tmp_path, renderer, tmp_path / "cache", workers=2)
    assert "bad_rows: skip" in str(error.value)
    assert built(tmp_path / "cache") == []


RUNAWAY = {
    "time": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "memory": "{% set x = 'a' * 10 ** 9 %}",
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("then", RUNAWAY.values(), ids=RUNAWAY.keys())
def test_a_template_that_runs_away_on_one_row_is_refused_with_that_row(
    then: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BATCH_ROWS", 8)
    monkeypatch.setattr(documents, "SMALL", 100)
    trap = "{% for m in messages %}{% if m.content == 'What is 13 + 1?' %}" + then + "{% endif %}{% endfor %}"
    renderer = Renderer(tokenizer_folder(tmp_path / "tokenizer", trap + UNMARKED))
    jsonl(tmp_path / "rows.jsonl", pairs(40))
    spec = SourceSpec(path="rows.jsonl", bad_rows="skip", drop_limit=1.0)
    with pytest.raises(InputError, match=r"rows.jsonl:14: the chat template outgrows 1 s of processor time or 256 MB"):
        build_store("t", spec, tmp_path, renderer, tmp_path / "cache", workers=workers)
    assert built(tmp_path / "cache") == []


def test_a_worker_that_dies_is_reported(renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BATCH_ROWS", 4)
    monkeypatch.setattr(documents, "SMALL", 1000)
    start = pool._start

    def dying(prepare: object) -> subprocess.Popen[bytes]:
        process = start(prepare)  # type: ignore[arg-type]
        process.kill()
        process.wait()
        return process

    monkeypatch.setattr(pool, "_start", dying)
    jsonl(tmp_path / "rows.jsonl", texts(80))
    with pytest.raises(BloomeryError, match="a tokenizing process died"):
        build_store("t", SPEC, tmp_path, renderer, tmp_path / "cache", workers=2)
    assert built(tmp_path / "cache") == []


def test_two_processes_build_one_store_once(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", texts(300))
    program = (
        "import sys; from pathlib import Path; from bloomery.data.config import SourceSpec;"
        "from bloomery.data.render import Renderer; from bloomery.data.store import build_store;"
        "folder = Path(sys.argv[1]);"
        "renderer = Renderer(Path(sys.argv[2]));"
        "print(build_store('t', SourceSpec(path='rows.jsonl'), folder, renderer, folder / 'cache').path)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path), str(renderer.folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(paths) == 1 and len(built(tmp_path / "cache")) == 1


def test_small_vocabularies_take_two_bytes_a_token(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", texts(5))
    store = build_store("t", SPEC, tmp_path, renderer, tmp_path / "cache")
    assert (store.path / "ids.bin").stat().st_size == 2 * store.n_tokens
    assert store.document(0)[0].dtype == np.int32


def test_a_store_is_for_its_owner_only(renderer: Renderer, tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", texts(3))
    before = os.umask(0o022)
    try:
        store = build_store("rows", SPEC, tmp_path, renderer, tmp_path / "cache")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in store.path.glob("*.bin")}
    assert set(modes.values()) == {0o600} and len(modes) > 5
    assert [path.stat().st_mode & 0o777 for path in (store.path, store.path.parent)] == [0o700, 0o700]
    assert (tmp_path / "cache" / "hashes.json").stat().st_mode & 0o777 == 0o600


def test_rows_of_a_group_are_named_so_and_only_where_the_column_is_given(renderer: Renderer, tmp_path: Path) -> None:
    rows = [row | {"text_id": f"text{number // 3}" if number < 6 else None} for number, row in enumerate(pairs(8))]
    jsonl(tmp_path / "rows.jsonl", rows)
    spec = SPEC.model_copy(update={"columns": {"group": "text_id"}})
    table = RowTable(build_store("pairs", spec, tmp_path, renderer, tmp_path / "cache"), 512)
    names = [table.row(index, epoch=2).group_id for index in range(8)]
    assert names[0] == names[1] == names[2] != names[3] == names[5] and names[6:] == [None, None]
    assert str(names[0]).startswith("pairs:2:")
    plain = RowTable(build_store("pairs", SPEC, tmp_path, renderer, tmp_path / "cache"), 512)
    assert plain.groups is None and plain.row(0).group_id is None
