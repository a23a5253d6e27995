"""Reads a tokenizer folder without transformers: the fast tokenizer, its special tokens, its chat template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bloomery.core.errors import InputError, Where
from bloomery.core.files import read_json, sha256_file


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a tokenizer folder says.

    `special` holds token strings by name (`bos_token`, `eos_token`, ...); `bos` is None where rows do
    not begin with one. `ends` are the strings that can end a turn. `sha256` is that of tokenizer.json.
    """

    folder: Path
    special: dict[str, str]
    bos: int | None
    eos: int
    ends: tuple[str, ...]
    size: int
    template: str | None
    sha256: str


def load_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer of a folder. Raises `InputError` when tokenizer.json is missing or unreadable."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError("has no tokenizer.json", where=Where(folder), fix="give a folder with a fast tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"is not readable as a tokenizer: {error}", where=Where(path)) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_vocabulary(folder: Path, tokenizer: Tokenizer) -> Vocabulary:
    """Special tokens, template and size of a tokenizer folder.

    Raises `InputError` when no end-of-sequence token can be found: documents would run into each other.
    """
    config = _json(folder / "tokenizer_config.json")
    special = _special_tokens(folder, config)
    eos = tokenizer.token_to_id(special["eos_token"]) if "eos_token" in special else None
    if eos is None:
        raise InputError(
            "names no end-of-sequence token", where=Where(folder), fix="set `eos_token` in tokenizer_config.json"
        )
    added = [str(token) for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    return Vocabulary(
        folder=folder,
        special=special,
        bos=_bos(tokenizer, config, special),
        eos=eos,
        ends=tuple(_strings(tokenizer) or added),
        size=_size(tokenizer),
        template=_template(folder, config),
        sha256=sha256_file(folder / "tokenizer.json"),
    )


def _strings(tokenizer: Tokenizer) -> list[str]:
    return [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]


def _size(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def _json(path: Path) -> dict[str, Any]:
    value = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    named = _json(folder / "special_tokens_map.json") | config
    found = {}
    for key, value in named.items():
        content = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(content, str):
            found[key] = content
    return found


def _bos(tokenizer: Tokenizer, config: dict[str, Any], special: dict[str, str]) -> int | None:
    """The token every row begins with: what the tokenizer itself puts before an empty text, unless told otherwise."""
    token = tokenizer.token_to_id(special["bos_token"]) if "bos_token" in special else None
    stated = config.get("add_bos_token")
    if isinstance(stated, bool):
        return token if stated else None
    first = tokenizer.encode("").ids[:1]
    return token if first == [token] else None


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    stated = config.get("chat_template")
    if isinstance(stated, list):
        stated = next((item.get("template") for item in stated if item.get("name") == "default"), None)
    return stated if isinstance(stated, str) else None
