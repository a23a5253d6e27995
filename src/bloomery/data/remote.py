"""Remote sources that are fetched whole, once: of the Hub into its own cache, of buckets into ours."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.hub import address_parts, endpoint, faults, patient, refusal
from bloomery.core.secret import Secret
from bloomery.data.buckets import copies
from bloomery.data.config import SourceSpec
from bloomery.data.hubfiles import TABLES
from bloomery.data.paths import COMPRESSED, format_suffix
from bloomery.data.stream import filled

CACHE = "BLOOMERY_CACHE"
"""Environment variable that names the cache folder; else `bloomery` in the user's cache folder."""


def is_remote(path: str) -> bool:
    """Whether a path names another machine."""
    return "://" in path


def fetch(path: str, token: Secret | None = None) -> list[Path]:
    """Local copies of the files that a remote path names; globs allowed. Raises `InputError` otherwise."""
    if not path.startswith("hf://"):
        return copies(path, cache_folder())
    repository, revision, pattern = address_parts(path)
    return _matching(_snapshot(repository, revision, [pattern], token), pattern, path)


def fetch_dataset(spec: SourceSpec) -> list[Path]:
    """Local copies of the data files of a Hub dataset's configuration and split, sorted by name."""
    folder = _dataset_folder(spec)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and _fits(p, folder, spec))
    if not files:
        raise InputError(
            f"`hf: {spec.hf}` has no data file for split `{spec.split}`"
            + (f" of configuration `{spec.config}`" if spec.config else ""),
            fix=f"look at its files and name one: `path: hf://{spec.hf}/FILE`",
        )
    return files


def pins(spec: SourceSpec) -> dict[str, Any]:
    """Keys of the source that fix its Hub data at the commit it has now; {} for anything else.

    The Hub's cache names the folder of a snapshot after its commit, online or not. Raises `InputError` as `fetch`.
    """
    if spec.take:
        stream = filled(spec, spec.take, cache_folder()).spec
        return {"revision": stream.revision} if spec.hf else {"path": stream.path}
    if spec.hf:
        return {"revision": _dataset_folder(spec).name}
    if not any(path.startswith("hf://") for path in spec.paths):
        return {}
    return {"path": [_pinned(path, spec.token) if path.startswith("hf://") else path for path in spec.paths]}


def _pinned(path: str, token: Secret | None) -> str:
    repository, revision, pattern = address_parts(path)
    return f"hf://{repository}@{_snapshot(repository, revision, [pattern], token).name}/{pattern}"


def _dataset_folder(spec: SourceSpec) -> Path:
    places = [f"{spec.config}/", f"data/{spec.config}"] if spec.config else [""]
    endings = [f"{suffix}{packed}" for suffix in TABLES for packed in ("", *sorted(COMPRESSED))]
    patterns = [f"{place}*{spec.split}*{ending}" for place in places for ending in endings]
    return _snapshot(str(spec.hf), spec.revision, patterns, spec.token)


def cache_folder() -> Path:
    """Where fetched files lie."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloomery"
    return Path(os.environ.get(CACHE) or usual)


def _fits(path: Path, folder: Path, spec: SourceSpec) -> bool:
    name = path.relative_to(folder).as_posix()
    placed = spec.config is None or name.startswith((f"{spec.config}/", f"data/{spec.config}"))
    return placed and format_suffix(path) in TABLES and spec.split in re.split(r"[/_.\-]", name)


def _snapshot(repository: str, revision: str | None, patterns: list[str], token: Secret | None) -> Path:
    from huggingface_hub import snapshot_download

    own = token.reveal() if token else None
    download = partial(snapshot_download, repo_type="dataset", allow_patterns=patterns, endpoint=endpoint())
    try:
        return Path(patient(lambda: download(repository, revision=revision, token=own)))
    except faults() as error:
        raise refusal("dataset", repository, revision, error, token) from None


def _matching(folder: Path, pattern: str, path: str) -> list[Path]:
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    if not files:
        raise InputError(f"`path: {path}` matches no file of the dataset", fix="check the file's name")
    return files
