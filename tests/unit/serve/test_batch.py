"""A file of requests, read before a model is loaded for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bloomery.cli import app
from bloomery.core.errors import InputError
from bloomery.serve.batch import Counted, read_requests


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_a_file_that_asks_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(InputError, match="holds no requests"):
        list(read_requests(tmp_path / "in.jsonl"))


def test_a_key_that_a_request_does_not_have_is_refused(tmp_path: Path) -> None:
    line = '{"custom_id": "1", "methd": "POST", "url": "/v1/completions", "body": {}}\n'
    (tmp_path / "in.jsonl").write_text("\n" + line)
    with pytest.raises(InputError, match=r"no key `methd` \(did you mean `method`\?\)") as refused:
        list(read_requests(tmp_path / "in.jsonl"))
    assert str(refused.value.where).endswith("in.jsonl:2")


@pytest.mark.parametrize(("failed", "status"), [(0, 0), (2, 0), (3, 1)])
def test_a_batch_of_which_everything_was_refused_has_failed(
    monkeypatch: pytest.MonkeyPatch, failed: int, status: int
) -> None:
    def answered(asked: Any, limits: Any, batch: Path, out: Path, told: Any) -> Counted:
        told(Counted(3, 1))
        told(counted := Counted(3, 3, failed))
        return counted

    monkeypatch.setattr("bloomery.recipes.serving.answer_batch", answered)
    done = CliRunner().invoke(app, ["serve", "tiny", "--batch", "in.jsonl", "--out", "out.jsonl"])
    assert done.exit_code == status and f"3 of 3 answered, {failed} of them refused" in done.stdout
    assert "3/3" in done.stderr


def test_no_bar_stands_above_an_error_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{}\n")
    words = ["serve", "tiny", "--batch", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, InputError) and done.output == ""
