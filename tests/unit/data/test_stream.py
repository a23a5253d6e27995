"""Sources that are read in part: no further than needed, from every part of the whole, once, the same everywhere."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hub import Hub, serving

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.files import waiting_lock
from bloomery.data import stream as streams
from bloomery.data.config import SourceSpec
from bloomery.data.sources import iter_records, source_files
from bloomery.data.stream import TOKEN_BYTES, Stream, filled, opened

COMMIT, LATER, TOKEN = "a" * 40, "b" * 40, "hf_a-token-that-is-not-told"
ROWS = 600
"""Rows of a file: more than the first round takes of it."""


def text(kind: str, number: int) -> dict[str, Any]:
    said = random.Random(f"{kind}{number}").randbytes(250).hex()  # which does not pack well
    return {"id": f"{kind}-{number}", "text": said, "url": "https://x" * 9}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Data sets as they are found: shards of Parquet, compressed lines without the word for a split, a card."""
    pages, lines = tmp_path / "pages", tmp_path / "lines"
    for shard in range(6):
        rows = [text(f"s{shard}", n) for n in range(ROWS)]
        (pages / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), pages / f"data/train-{shard}.parquet", row_group_size=100)
    for part in ("code", "math"):
        (lines / part).mkdir(parents=True)
        plain = "".join(json.dumps(text(part, n)) + "\n" for n in range(ROWS)).encode()
        (lines / part / "shard_0.jsonl.zst").write_bytes(zstandard.compress(plain))
    (lines / "README.md").write_text("about")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("BLOOMERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bloomery.core.hub.WAITS", (0.0, 0.0))
    monkeypatch.setattr("bloomery.data.hubfiles.BLOCK", 2048)
    folders = {"org/pages": pages, "org/lines": lines, "org/closed": lines}
    commits = {(repo, revision): COMMIT for repo in folders for revision in ("main", "v1", COMMIT)}
    with serving(Hub(folders, commits, {"org/closed": TOKEN})) as found:
        found.cards["org/pages"] = {"license": "odc-by"}
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ids(spec: SourceSpec) -> list[str]:
    return [record.fields["id"] for record in iter_records(spec, Path())]


def size(rows: list[dict[str, Any]]) -> int:
    return sum(len(json.dumps(row)) + 1 for row in rows)


def test_no_more_is_fetched_than_is_taken_and_the_second_time_nothing(hub: Hub) -> None:
    spec = SourceSpec(hf="org/pages", take=3_000)
    first = ids(spec)
    whole = sum(path.stat().st_size for path in hub.models["org/pages"].rglob("*.parquet"))
    assert 0 < len(first) < ROWS and hub.sent < whole / 8
    assert hub.unknown == []
    requests = hub.requests
    assert ids(spec) == first
    assert hub.requests == requests


def test_a_part_holds_what_was_asked_for_to_within_a_row(hub: Hub) -> None:
    rows = [record.fields for record in iter_records(SourceSpec(hf="org/pages", take=20_000), Path())]
    assert all(set(row) == {"id", "text"} for row in rows)  # the address of a page trains nothing
    assert 20_000 * TOKEN_BYTES <= size(rows) < 20_000 * TOKEN_BYTES + 700


def test_a_smaller_part_is_the_beginning_of_a_larger_one_whichever_came_first(hub: Hub, cache: Path) -> None:
    small, large = SourceSpec(hf="org/pages", take=4_000), SourceSpec(hf="org/pages", take=30_000)
    few = ids(small)
    many = ids(large)
    assert many[: len(few)] == few and len(many) > 5 * len(few)
    assert ids(small) == few
    for path in (cache / "streams").rglob("*"):
        path.unlink() if path.is_file() else None
    assert ids(large) == many
    assert ids(small) == few


@pytest.mark.parametrize("repo", ["org/pages", "org/lines"])
def test_all_of_a_source_is_every_row_once(hub: Hub, cache: Path, repo: str) -> None:
    spec = SourceSpec(hf=repo, take=10_000_000)
    kinds = Counter(i.split("-")[0] for i in ids(spec))
    assert set(kinds.values()) == {ROWS} and len(kinds) == (6 if repo == "org/pages" else 2)
    assert len(set(ids(spec))) == ROWS * len(kinds)
    found = opened(spec, cache)
    assert found is not None and found.ended and found.holds(10**12)


def test_the_beginning_is_made_of_all_parts(hub: Hub) -> None:
    rows = ids(SourceSpec(hf="org/lines", take=60_000))
    kinds = Counter(i.split("-")[0] for i in rows)
    assert len(rows) < ROWS and set(kinds) == {"code", "math"} and min(kinds.values()) == 256


def test_an_interrupted_fetch_goes_on_where_it_was(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PIECE", 20_000)
    spec = SourceSpec(hf="org/pages", take=40_000)

    def stop(stream: Stream) -> None:
        if len(stream.pieces) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(spec, 40_000, cache, stop)
    half = opened(spec, cache)
    assert half is not None and len(half.pieces) == 4
    assert half.tokens == pytest.approx(4 * 20_000 / TOKEN_BYTES, rel=0.05)
    (half.folder / "000004.jsonl.zst").write_bytes(b"half a piece")  # as a killed process leaves it
    before = {piece.path: piece.path.stat().st_mtime_ns for piece in half.pieces}
    rows = ids(spec)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for path in half.folder.iterdir():
        path.unlink()
    assert ids(spec) == rows


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_one_process_writes_at_a_time_by_whichever_name_it_knows_the_commit(
    hub: Hub, cache: Path, revision: str | None
) -> None:
    known = filled(SourceSpec(hf="org/pages"), 2_000, cache)
    freed: list[bool] = []

    def hold() -> None:
        with waiting_lock(known.folder / ".lock", "a test"):
            held.set()
            time.sleep(0.6)
            freed.append(True)

    held = threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    grown = filled(SourceSpec(hf="org/pages", revision=revision), 6_000, cache)
    assert freed and grown.folder == known.folder
    assert [piece.sha256 for piece in grown.pieces[: len(known.pieces)]] == [p.sha256 for p in known.pieces]
    other.join()


def test_a_changed_piece_is_refused_and_says_what_to_delete(hub: Hub, cache: Path) -> None:
    spec = SourceSpec(hf="org/pages", take=4_000)
    (piece,) = source_files(spec, Path())
    data = bytearray(piece.read_bytes())
    data[100] ^= 1
    piece.write_bytes(data)
    with pytest.raises(DamagedError, match="its sha256 is not that of what was fetched") as error:
        source_files(spec, Path())
    assert f"delete {piece.parent}" in str(error.value)


def test_a_branch_stays_at_the_commit_it_was_first_fetched_at(hub: Hub, cache: Path) -> None:
    rows = ids(SourceSpec(hf="org/pages", take=4_000))
    hub.commits["org/pages", "main"] = LATER
    assert ids(SourceSpec(hf="org/pages", take=4_000)) == rows
    found = opened(SourceSpec(hf="org/pages"), cache)
    assert found is not None and found.spec.revision == COMMIT and found.licence == "odc-by"
    assert ids(SourceSpec(hf="org/pages", revision=COMMIT, take=4_000)) == rows


def test_offline_what_is_there_is_read_and_what_is_missing_is_counted(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ids(SourceSpec(hf="org/pages", take=4_000))
    requests = hub.requests
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ids(SourceSpec(hf="org/pages", take=4_000)) == rows
    with pytest.raises(InputError, match=r"4,0\d\d of 9,000 tokens are in the cache, 4,9\d\d are missing"):
        ids(SourceSpec(hf="org/pages", take=9_000))
    with pytest.raises(InputError, match="the network is forbidden"):
        ids(SourceSpec(hf="org/lines", take=9_000))
    assert hub.requests == requests


def test_a_hub_that_hiccups_is_asked_again_and_one_that_is_dead_is_left(hub: Hub, cache: Path) -> None:
    hub.broken += [503, 500]
    assert ids(SourceSpec(hf="org/pages", take=4_000))
    hub.dead = True
    requests = hub.requests
    with pytest.raises(InputError, match="tokens are in the cache") as error:
        ids(SourceSpec(hf="org/pages", take=9_000))
    assert "cannot be fetched from the Hub" in str(error.value) and "what is already there is kept" in str(error.value)
    assert hub.requests - requests == 3
    hub.dead = False
    assert ids(SourceSpec(hf="org/pages", take=9_000))


def test_a_hub_that_says_nothing_is_not_waited_for_long(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ids(SourceSpec(hf="org/pages", take=4_000))
    monkeypatch.setattr("bloomery.data.hubfiles.SECONDS", 0.2)
    hub.slow = 2.0
    begun = time.monotonic()
    for repo in ("org/pages", "org/lines"):
        with pytest.raises(InputError, match="cannot be fetched from the Hub"):
            ids(SourceSpec(hf=repo, take=9_000))
    assert time.monotonic() - begun < 6
    assert ids(SourceSpec(hf="org/pages", take=4_000)) == rows


def test_a_gated_data_set_opens_to_the_named_token_which_is_written_nowhere(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="for accounts that accepted its licence") as error:
        ids(SourceSpec(hf="org/closed", take=4_000))
    assert f"{hub.address}/datasets/org/closed" in str(error.value) and "token: {env: HF_TOKEN}" in str(error.value)
    named = SourceSpec.model_validate({"hf": "org/closed", "take": 4_000, "token": {"env": "OUR_HUB_TOKEN"}})
    with pytest.raises(InputError, match="OUR_HUB_TOKEN is not set"):
        ids(named)
    monkeypatch.setenv("OUR_HUB_TOKEN", TOKEN)
    assert ids(named)
    assert named.model_dump(mode="json")["token"] == {"env": "OUR_HUB_TOKEN"}
    told = [path.read_bytes() for path in cache.rglob("*") if path.is_file()]
    assert told and not any(TOKEN.encode() in one for one in told)
    monkeypatch.setenv("OUR_HUB_TOKEN", "hf_another-one")
    with pytest.raises(InputError) as refused:
        filled(named, 40_000, cache)
    assert "hf_another-one" not in str(refused.value) and "OUR_HUB_TOKEN" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "split", "kinds"),
    [
        ("maths", "train", {"math"}),
        ("both", "b", {"code"}),
        ("both", "all", {"code", "math"}),
        (None, "train", {"math"}),
    ],
)
def test_the_card_says_which_files_a_configuration_has(
    hub: Hub, config: str | None, split: str, kinds: set[str]
) -> None:
    both = [{"split": "a", "path": "math/*"}, {"split": "b", "path": ["code/**"]}]
    hub.cards["org/lines"] = {
        "configs": [
            {"config_name": "maths", "data_files": "math/*.zst", "default": True},
            {"config_name": "both", "data_files": both},
        ]
    }
    rows = ids(SourceSpec(hf="org/lines", config=config, split=split, take=10_000_000))
    assert {i.split("-")[0] for i in rows} == kinds
    with pytest.raises(InputError, match=r"has no split `train`.*it has a, b") as error:
        ids(SourceSpec(hf="org/lines", config="both", take=100))
    assert "or to `all`" in str(error.value)
    hub.cards["org/lines"] = {"configs": [{"config_name": f"c{n}", "data_files": "math/*"} for n in range(30)]}
    with pytest.raises(InputError, match="has 30 configurations, and none of them is the default") as error:
        ids(SourceSpec(hf="org/lines", revision="v1", take=100))
    assert "c0, c1, c10" in str(error.value) and "and 20 more" in str(error.value)


def test_files_of_the_hub_and_of_any_file_system_are_read_in_part_too(hub: Hub, tmp_path: Path) -> None:
    import fsspec

    assert {i.split("-")[0] for i in ids(SourceSpec(path="hf://org/lines@v1/math/*.zst", take=400))} == {"math"}
    memory = fsspec.filesystem("memory")
    for shard in range(3):
        rows = "".join(json.dumps(text(f"m{shard}", n)) + "\n" for n in range(ROWS))
        memory.pipe(f"/bucket/{shard}.jsonl", rows.encode())
    spec = SourceSpec(path="memory://bucket/*.jsonl", take=65_000)
    assert set(Counter(i.split("-")[0] for i in ids(spec))) == {"m0", "m1", "m2"}
    local = SourceSpec(path=f"file://{hub.models['org/pages']}/data/*.parquet", take=4_000)
    assert len(ids(local)) < ROWS
    memory.pipe("/bucket/1.jsonl", b"changed")
    with pytest.raises(InputError, match=r"1.jsonl` has changed since it was first read"):
        ids(SourceSpec(path="memory://bucket/*.jsonl", take=120_000))
    memory.rm("/bucket", recursive=True)


def test_tables_and_bad_rows_are_kept_for_the_source_to_judge(tmp_path: Path, hub: Hub) -> None:
    rows = "a_text\n" + "".join(f"row {n}\n" for n in range(10))
    (tmp_path / "t.csv").write_text(rows)
    spec = SourceSpec(path=f"file://{tmp_path}/t.csv", columns={"text": "a_text"}, take=10)
    assert next(record.fields for record in iter_records(spec, Path())) == {"a_text": "row 0"}
    (tmp_path / "bad.jsonl").write_text('{"text": "one"}\nnot json\n{"text": "\\ud800"}\n')
    bad = SourceSpec(path=f"file://{tmp_path}/bad.jsonl", take=1_000)
    with pytest.raises(InputError, match="is not valid JSON"):
        list(iter_records(bad, Path()))
    lines = zstandard.ZstdDecompressor().stream_reader(source_files(bad, Path())[0].read_bytes()).read()
    assert lines == b'{"text": "one"}\nnot json\n{"text": "\\ud800"}\n'


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"path": "rows.jsonl", "take": 100}, "`take` belongs to a source on another machine"),
        ({"hf": "a/b", "take": "2 epochs"}, "`take: 2 epochs` is in epochs"),
        ({"hf": "a/b", "token": TOKEN}, "a secret cannot stand in a recipe"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        SourceSpec.model_validate(given)
    assert SourceSpec.model_validate({"hf": "a/b", "take": "2k tokens"}).take == 2_000
    assert TOKEN not in str(error.value)
