"""A tokenizer of one's own: any form of text, whole or not at all, the same again, every byte back."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from tiny import bloomery
from tokenizers import Tokenizer

from bloomery.core.errors import InputError
from bloomery.core.files import verify_folder
from bloomery.data.tokenizer import SPECIAL_TOKENS
from bloomery.recipes.words import EVERY, make_tokenizer

WORDS = [f"{a}{b}" for a in ("smelt", "forg", "hammer", "quench", "temper") for b in ("ed", "ing", "s", "er", "ery")]


def lines(count: int) -> list[str]:
    draw = random.Random(5)
    return [" ".join(draw.choices(WORDS, k=12)) + f" — {number}é\n" for number in range(count)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The same text as a folder of every form: plain, JSON lines, compressed."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("".join(lines(120)), encoding="utf-8")
    rows = [json.dumps({"id": f"never{n}", "text": line}) for n, line in enumerate(lines(120))]
    (folder / "b.jsonl").write_text("\n".join(rows))
    chat = [{"messages": [{"role": "user", "content": line}]} for line in lines(60)]
    with gzip.open(folder / "c.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in chat)
    return folder


def test_equal_text_gives_equal_files_and_held_out_text_comes_back(corpus: Path, tmp_path: Path) -> None:
    first = make_tokenizer([f"{corpus}/*"], tmp_path / "one", 300, 128)
    make_tokenizer([f"{corpus}/*"], tmp_path / "two", 300, 128)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert verify_folder(tmp_path / "one")["tokenizer"]["vocabulary"] == 300
    tokenizer = Tokenizer.from_file(str(tmp_path / "one" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == first.vocabulary == 300
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert first.held_bytes > 0 and first.bytes_per_token > 2


def test_one_piece_in_fifty_is_held_out_and_not_trained_on(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"ab {'xyz' if n % EVERY == EVERY - 1 else 'ab'} ab"}) for n in range(200)]
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    with pytest.raises(InputError, match="fills only"):
        make_tokenizer([str(tmp_path / "t.jsonl")], tmp_path / "out", 263, 128)
    made = make_tokenizer([str(tmp_path / "t.jsonl")], tmp_path / "out", 262, 128)
    assert made.held_bytes == 4 * len("ab xyz ab")
    assert "xyz" not in Tokenizer.from_file(str(made.folder / "tokenizer.json")).get_vocab()


def test_what_cannot_be_made_is_refused_and_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fills only") as refused:
        make_tokenizer([str(corpus / "a.txt")], tmp_path / "out", 32_000, 128)
    assert "smaller vocabulary" in str(refused.value.fix)
    (tmp_path / "half.jsonl").write_text('{"text": "a \\ud800 b"}\n')
    with pytest.raises(InputError, match="surrogate"):
        make_tokenizer([str(tmp_path / "half.jsonl")], tmp_path / "out", 300, 128)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        make_tokenizer([str(corpus / "a.txt")], tmp_path / "there", 300, 128)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "half.jsonl", "there"]


def test_the_verb_says_what_a_token_holds(corpus: Path, tmp_path: Path) -> None:
    told = bloomery("tokenizer", "corpus/a.txt", "corpus/b.jsonl", "own", "--vocab", "0.3k", within=tmp_path)
    assert told.status == 0 and "wrote own: 300 entries, " in told.out and "bytes a token" in told.out
    again = bloomery("tokenizer", "corpus/a.txt", "own", "--vocab", "300", within=tmp_path)
    assert again.status == 2 and "exists already" in again.err
    few = bloomery("tokenizer", "corpus/a.txt", "other", "--vocab", "100", within=tmp_path)
    assert few.status == 2 and "no room" in few.err
    unit = bloomery("tokenizer", "corpus/a.txt", "other", "--vocab", "3z", "--json", within=tmp_path)
    assert unit.status == 2 and "unknown scale" in unit.err
