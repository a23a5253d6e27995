"""Bad input, each kind with its message: what was set, why it cannot work, what to change; and nothing half made."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import bloomery, documents, pairs, write_rows

from bloomery.data import readers


def refused(here: Path, *changes: str) -> str:
    """The one paragraph that a run is refused with; nothing of it may be left, and its name must be free."""
    told = bloomery("run", "recipe.yaml", "name=bad", *changes, within=here)
    assert told.status == 2, told
    assert "Traceback" not in told.err and told.out == ""
    runs = here / "runs"
    assert not runs.exists() or {path.name for path in runs.iterdir()} <= {".lock", ".names"}
    assert not (runs / ".names").exists() or "bad" not in (runs / ".names").read_text().split()
    return told.err[told.err.index("error: ") :]


GOOD = documents("domain", 0, 100)
DATA: dict[str, tuple[list[object] | bytes, str, str]] = {
    "an empty file": ([], "domain.jsonl: source `domain` has no rows", "remove the source, or put rows in it"),
    "bad UTF-8": (
        b'{"text": "a good row with words enough for the budget"}\n' * 300 + b'{"text": "caf\xe9"}\n',
        "domain.jsonl:301: is not valid UTF-8: byte 0xe9 at position 13 of the row",
        "convert the file to UTF-8, for example with `iconv -t utf-8`",
    ),
    "mixed schemas": (
        [*GOOD, *pairs(0, 3)],
        "domain.jsonl:101: has no column `text` (text), which the first row has; its columns: id, prompt, response",
        "give rows of different kinds as separate sources",
    ),
    "a row with no trained token": (
        [*GOOD, {"text": "  "}],
        "domain.jsonl:101: has no token to train on: no text",
        "remove the row",
    ),
    "a missing column": (
        [{"story": "b", "head": "c"}],
        "domain.jsonl:1: source `domain`: the columns (story, head) fit no shape",
        "name the columns: `columns: {text: story}`, for example, or both `prompt` and `response`",
    ),
    "a row with an image": (
        [*GOOD, {"text": "a", "image": {"bytes": "x"}}],
        "domain.jsonl:101: has a column `image`: Bloomery trains on text only for now",
        "remove the column `image`, or the row",
    ),
    "a message with an image": (
        [{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}],
        "domain.jsonl:1: ",
        "",
    ),
    "a line that is no JSON": ([*GOOD, "{oops"], "domain.jsonl:101: is not valid JSON", "correct the row"),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_is_refused_by_file_and_line(here: Path, kind: str) -> None:
    rows, message, remedy = DATA[kind]
    if isinstance(rows, bytes):
        (here / "domain.jsonl").write_bytes(rows)
    else:
        write_rows(here / "domain.jsonl", rows)
    error = refused(here)
    assert message in error
    assert f"fix: {remedy}" in error


def test_one_row(here: Path) -> None:
    write_rows(here / "domain.jsonl", documents("domain", 0, 1))
    asked = "its share needs 35.7 epochs of them, more than `data.repetition_cap: 4`"
    assert asked in refused(here) and "recipe.yaml:5" in refused(here)
    error = refused(here, "eval=null", "budget=256 tokens")
    assert "has one document: nothing can be held out" in error and "eval:" in error


def test_a_line_of_a_hundred_megabytes(here: Path) -> None:
    with open(here / "domain.jsonl", "wb") as file:
        file.write(b'{"text": "short"}\n{"text": "')
        file.truncate(100 << 20)  # a hole: a hundred megabytes that no disk holds
    assert readers.MAX_ROW_BYTES < 100 << 20
    error = refused(here)
    assert "domain.jsonl:2: this line is longer than 32 MiB, the most we read as one row" in error
    assert "fix: write one JSON object per line, or split the document" in error


def test_a_file_that_is_not_there(here: Path) -> None:
    assert "gone.jsonl` does not exist" in refused(here, "data.domain=[gone.jsonl]")
    error = refused(here, "eval=gone.jsonl")
    assert "command line: `path: " in error and "gone.jsonl` does not exist" in error
    told = bloomery("explain", "recipe.yaml", "eval=gone.jsonl", within=here)
    assert (told.status, "gone.jsonl` does not exist" in told.out.replace("\n", "")) == (2, True)


def test_a_share_beyond_the_repetition_cap(here: Path) -> None:
    error = refused(here, "budget=200k tokens")
    assert "recipe.yaml:5: `domain` has about 5," in error and "more than `data.repetition_cap: 4`" in error
    assert "fix: lower `budget` or the source's share, add data, or raise `data.repetition_cap`" in error


def test_a_training_row_that_is_an_evaluation_row(here: Path) -> None:
    write_rows(here / "heldout.jsonl", [*documents("domain", 1000, 9), *documents("domain", 5, 2)])
    error = refused(here)
    assert "2 training rows of `domain` are also evaluation rows of `heldout`: d5, d6" in error
    assert "fix: remove them from one side" in error


def test_two_held_out_files_of_one_name_are_both_measured(here: Path) -> None:
    (here / "more").mkdir()
    write_rows(here / "more" / "heldout.jsonl", documents("domain", 2000, 7))
    changes = ("name=two", "eval=[heldout.jsonl, more/heldout.jsonl]", "budget=256 tokens")
    told = bloomery("run", "recipe.yaml", *changes, within=here)
    assert told.status == 0, told.err
    report = json.loads((here / "runs" / "two" / "report.json").read_text())
    assert sorted(change["examples"] for change in report["changes"]) == [7, 12]


def test_held_out_rows_called_like_a_suite(here: Path) -> None:
    (here / "old-things.jsonl").write_bytes((here / "heldout.jsonl").read_bytes())
    error = refused(here, "model=null", "family=toy", "data.curated=auto", "eval=old-things.jsonl")
    assert "held-out rows and a suite of the family are both called `old-things`" in error
    assert "fix: give that source another `name`" in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("budgett: 1M tokens", "recipe.yaml:13: there is no key `budgett` (did you mean `budget`?)"),
        ("lora: {rnk: 3}", "recipe.yaml:13: there is no key `lora.rnk` (did you mean `rank`?)"),
        ("seed: 1\nseed: 2", "recipe.yaml:14: has the key `seed` twice, first on line 13"),
        ("keep: {general: 3 tokens}", "recipe.yaml:13: `keep.general: 3 tokens`"),
    ],
)
def test_a_key_is_refused_by_line(here: Path, line: str, message: str) -> None:
    with open(here / "recipe.yaml", "a") as file:
        file.write(line + "\n")
    assert message in refused(here)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("budget=3k tokns", "command line: `budget: 3k tokns` has no unit we know (did you mean `tokens`?)"),
        ("budget=3 bananas", "`budget: 3 bananas` has no unit we know"),
        ("data.share=300%", "command line: `data.share: 300%` is outside 0 to 100 %"),
        ("data.share=half", "command line: `data.share: half` is not a share\n  fix: write `30%` or `0.3`"),
        ("data.shar=30%", "command line: there is no key `data.shar` (did you mean `share`?)"),
        ("optim.batch=3 epochs", "`optim.batch: 3 epochs`"),
        ("model=nowhere", "command line: `model: nowhere` is no folder here"),
        ("data.curated={web: 30, code: 60}", "the categories under `data.curated` sum to 90 %, not 100 %"),
        ("name=a/b", "`name: a/b`"),
    ],
)
def test_a_value_is_refused_by_key(here: Path, change: str, message: str) -> None:
    assert message in refused(here, change)


class Bomb:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def own_copy(here: Path) -> Path:
    """The model folder as one that may be changed."""
    files = {path.name: path.read_bytes() for path in (here / "tiny").iterdir()}
    (here / "tiny").unlink()
    (here / "tiny").mkdir()
    for name, data in files.items():
        (here / "tiny" / name).write_bytes(data)
    return here / "tiny"


def test_a_checkpoint_in_a_pickle(here: Path) -> None:
    own_copy(here)
    (here / "tiny" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(here / "mark")))
    (here / "tiny" / "model.safetensors").unlink()
    error = refused(here)
    assert "tiny: `pytorch_model.bin` is code, or can run code when opened" in error
    assert "fix: delete it; weights must be safetensors" in error
    assert not (here / "mark").exists()


def test_a_config_with_a_nested_auto_map(here: Path) -> None:
    config = own_copy(here) / "config.json"
    planted = {"inner": [{"deep": {"auto_map": {"AutoModel": "evil.Evil"}}}]}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"text_settings": planted}))
    error = refused(here)
    assert "config.json: the key `auto_map` asks for code" in error and "fix: remove `auto_map`" in error
