"""`bloomery grade`: a grader is tried before anything depends on it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bloomery.cli import main


def rows(folder: Path, *listed: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in listed))
    return str(path)


def grader(folder: Path, text: str, name: str = "grader.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["grade", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


GOOD = {"id": "sum", "prompt": "1 + 2?", "response": "It is 3", "reference_answer": "3"}
BAD = {
    "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}],
    "reference_answer": 4,
}
NONE = {"id": "odd", "prompt": "?", "response": "7"}


def test_validate_shows_scores_reasons_and_the_share_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        capsys, "validate", grader(tmp_path, "type: number"), "--rows", rows(tmp_path, GOOD, BAD, NONE)
    )
    assert status == 0 and "33% of 3 answers have no score" in out
    assert "no `reference_answer`" in " ".join(out.split()) and "sum" in out


def test_validate_as_json_has_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(
        capsys,
        "validate",
        grader(tmp_path, '{"type": "number"}', "g.json"),
        "--rows",
        rows(tmp_path, GOOD, BAD),
        "--json",
    )
    told = json.loads(out)
    assert told["fine"] and told["mean"] == 0.5 and told["unscorable"] == 0
    assert [row["id"] for row in told["rows"]] == ["sum", "2"]
    assert all(row["reference"]["aggregate_reward_score"] == 1 for row in told["rows"])


def test_a_reference_without_full_marks_fails_the_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = grader(tmp_path, "type: regex\npattern: '\\d{2}'")
    status, out, _ = call(capsys, "validate", path, "--rows", rows(tmp_path, GOOD))
    assert status == 2 and "the reference answer gets 0, not 1" in " ".join(out.split())


def test_a_grader_that_scores_nothing_fails_the_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "validate", grader(tmp_path, "type: number"), "--rows", rows(tmp_path, NONE))
    assert status == 2 and "100% of 1" in out


def test_functions_are_found_beside_the_grader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reward.py").write_text("def grade(sample): return len(sample['messages'][-1]['content']) / 10")
    path = grader(tmp_path, "type: python\npath: reward.py\ntrusted: true")
    status, out, _ = call(capsys, "validate", path, "--rows", rows(tmp_path, GOOD), "--json")
    told = json.loads(out)
    assert told["rows"][0]["answer"]["aggregate_reward_score"] == 0.7
    assert status == 2 and "at least 0.7" in told["rows"][0]["problem"]


def test_run_writes_one_score_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.jsonl"
    asked = {"prompt": "no answer yet"}
    status, told, _ = call(
        capsys,
        "run", grader(tmp_path, "type: number"), "--rows", rows(tmp_path, GOOD, BAD, NONE, asked), "--out", str(out),
    )  # fmt: skip
    scores = [json.loads(line) for line in out.read_text().splitlines()]
    assert status == 0 and [score["aggregate_reward_score"] for score in scores] == [1, 0, None]
    assert "unscorable: 1" in told and "mean: 0.5" in told and "without an answer: 1" in told
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ("type: numbr", GOOD, "did you mean `number`"),
        ("- 1", GOOD, "is no grader"),
        ("type: number", {"prompt": "?"}, "no row has an answer"),
        ("type: number", {"response": 3, "messages": "x"}, "no messages"),
        ("type: number", {"response": "3", "metadata": [1]}, "no object"),
        ("type: score_model\ninput: Rate it", GOOD, "no judge to ask"),
        ("type: number", GOOD | {"id": "\ud800"}, "rows.jsonl:1: holds half of a surrogate pair"),
    ],
)
def test_what_cannot_work_is_said_with_its_file(
    text: str, row: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(capsys, "validate", grader(tmp_path, text), "--rows", rows(tmp_path, row))
    assert status == 2 and message in err


def test_two_rows_of_one_id_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = rows(tmp_path, GOOD | {"id": 7}, BAD, NONE | {"id": "7"})
    status, _, err = call(capsys, "validate", grader(tmp_path, "type: number"), "--rows", told)
    assert status == 2 and "rows.jsonl:3: the row's `id: 7` is that of row 1, too" in err


def test_an_id_is_shown_as_it_is_and_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = rows(tmp_path, GOOD | {"id": "[/x]"}, GOOD | {"id": "[red]y"}, GOOD | {"id": "z\x1b[2J \u3000\u200d"})
    status, out, _ = call(capsys, "validate", grader(tmp_path, "type: number"), "--rows", told)
    assert status == 0 and "[/x]" in out and "[red]y" in out and "z\ufffd[2J \u3000\u200d" in out


def test_scores_are_not_written_over_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = rows(tmp_path, GOOD)
    before = Path(told).read_text()
    (tmp_path / "link.jsonl").symlink_to(told)
    for out in (told, str(tmp_path / "link.jsonl")):
        status, _, err = call(capsys, "run", grader(tmp_path, "type: number"), "--rows", told, "--out", out)
        assert status == 2 and "is what is read" in err and Path(told).read_text() == before
