"""The tokenizer that evaluation's tests share."""

from __future__ import annotations

from typing import Any

import pytest
from told import TEXTS
from transformers import AutoTokenizer

from bloomery.data.tokenizer import save_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_tokenizer(TEXTS, 290), folder)
    return AutoTokenizer.from_pretrained(folder)
