"""A file of requests, read before a model is loaded for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bloomery.core.errors import InputError
from bloomery.serve.batch import read_requests


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_a_file_that_asks_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(InputError, match="holds no requests"):
        list(read_requests(tmp_path / "in.jsonl"))
