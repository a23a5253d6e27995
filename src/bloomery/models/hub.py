"""Models of the Hugging Face Hub, fetched once into the Hub's own cache, because a recipe or command names them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from bloomery.core.errors import InputError
from bloomery.core.hub import endpoint, faults, patient, refusal
from bloomery.core.secret import Secret
from bloomery.models.guard import check_folder

FETCHED = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "vocab.txt", "merges.txt", "README.md")
"""Configuration, tokenizer, chat template, weights, and the card, which the manifest of a model of ours lists. Never
pickles, never code."""

LEFT = ("*/*", "consolidated*.safetensors", "optimizer*", "training_args*")
"""Folders (adapters, other formats of the same weights), and the weights again in a file that transformers passes."""


def cached(repo: str, revision: str | None) -> Path | None:
    """The folder of a model that is wholly in the Hub's cache; None where anything is missing. Uses no network."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repo, "config.json", cache_dir=constants.HF_HUB_CACHE, revision=revision)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder and _whole(folder) else None


def commit_of(folder: Path) -> str:
    """The commit that a folder of the cache holds: the Hub's client names the folder after it."""
    return folder.name


def fetch(repo: str, revision: str | None, token: Secret | None = None) -> Path:
    """The folder of a model in the Hub's cache, downloaded where it is not there, and checked to name no code.

    A gated repository needs the access token in `token`'s variable; without it that of `HF_TOKEN` or `hf auth login`.
    Raises `InputError` for a repository or revision that is not there, closed, not reachable, or not a model in
    safetensors.
    """
    from huggingface_hub import snapshot_download

    own = token.reveal() if token else None
    download = partial(snapshot_download, allow_patterns=list(FETCHED), ignore_patterns=list(LEFT))
    try:
        place = patient(lambda: download(repo, revision=revision, endpoint=endpoint(), token=own))
    except faults() as error:  # the cache's misses are `OSError`s
        raise refusal("model", repo, revision, error, token) from None
    folder = Path(place)
    check_folder(folder)
    if not _whole(folder):
        raise InputError(
            f"`{repo}` at `{revision or 'main'}` is no model in safetensors with a tokenizer",
            fix="name a repository or revision that has both; if the network failed half-way, run again",
        )
    return folder


def _whole(folder: Path) -> bool:
    """Whether a configuration, all weights and a tokenizer are there."""
    names = {path.name for path in folder.iterdir() if path.exists()}
    if "config.json" not in names or not any(name.startswith(("tokenizer", "vocab")) for name in names):
        return False
    return "model.safetensors" in names or (bool(shards := _shards(folder)) and shards <= names)


def _shards(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
