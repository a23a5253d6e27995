"""A file of requests, read before a model is loaded for it."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bloomery.cli import app
from bloomery.core.errors import InputError
from bloomery.serve.batch import Counted, answer_file, read_requests


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


def test_a_batch_goes_on_behind_any_text_and_a_line_cut_inside_a_character(tmp_path: Path) -> None:
    async def echo(_scope: Any, receive: Any, send: Any) -> None:
        asked = await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": asked["body"]})

    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        {"custom_id": str(n), "url": "/v1/completions", "body": {"model": "m", "prompt": "a\u2028b\x85\u00e9"}}
        for n in range(3)
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    told: list[int] = []
    answer = lambda: asyncio.run(answer_file(echo, "t", source, out, 2, lambda counted: told.append(counted.done)))  # noqa: E731
    answer()
    whole = out.read_bytes()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    out.write_bytes(whole[: whole.rindex("\u00e9".encode()) + 1])
    told.clear()
    answer()
    assert told[0] == 2 and sorted(json.loads(line)["custom_id"] for line in out.open()) == ["0", "1", "2"]


def test_a_request_with_half_of_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"custom_id": "\\ud800", "url": "/v1/completions", "body": {}}\n')
    with pytest.raises(InputError, match=r"half of a surrogate pair \(U\+D800\)"):
        list(read_requests(tmp_path / "in.jsonl"))
