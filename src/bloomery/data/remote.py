"""Files of the Hugging Face Hub and of S3, fetched once into the cache. The only network use of `data`."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.hub import reachable, reason
from bloomery.data.config import SourceSpec
from bloomery.data.paths import COMPRESSED, FORMATS, format_suffix

CACHE = "BLOOMERY_CACHE"
"""Environment variable that names the cache folder; else `bloomery` in the user's cache folder."""
TABLES = tuple(suffix for suffix, kind in FORMATS.items() if kind != "text")
"""Extensions of a dataset's rows; text files of its repository are about it."""


def is_remote(path: str) -> bool:
    """Whether a path names another machine."""
    return "://" in path


def fetch(path: str) -> list[Path]:
    """Local copies of the files that an `hf://` or `s3://` path names; globs allowed. Raises `InputError` otherwise."""
    scheme, _, rest = path.partition("://")
    if scheme == "s3":
        return _fetch_s3(rest)
    if scheme == "hf":
        repository, revision, pattern = _parts(path)
        return _matching(_snapshot(repository, revision, [pattern]), pattern, path)
    raise InputError(f"`path: {path}`: `{scheme}://` is not supported", fix="use a local path, `hf://` or `s3://`")


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
    if spec.hf:
        return {"revision": _dataset_folder(spec).name}
    if not any(path.startswith("hf://") for path in spec.paths):
        return {}
    return {"path": [_pinned(path) if path.startswith("hf://") else path for path in spec.paths]}


def _pinned(path: str) -> str:
    repository, revision, pattern = _parts(path)
    return f"hf://{repository}@{_snapshot(repository, revision, [pattern]).name}/{pattern}"


def _parts(path: str) -> tuple[str, str | None, str]:
    """Repository, revision and file pattern of `hf://owner/name@revision/file`."""
    parts = path.removeprefix("hf://").removeprefix("datasets/").split("/", 2)
    if len(parts) < 3:
        fix = "write `hf://owner/name/file.jsonl`, or use `hf: owner/name`"
        raise InputError(f"`path: {path}` names no file", fix=fix)
    name, _, revision = parts[1].partition("@")
    return f"{parts[0]}/{name}", revision or None, parts[2]


def _dataset_folder(spec: SourceSpec) -> Path:
    places = [f"{spec.config}/", f"data/{spec.config}"] if spec.config else [""]
    endings = [f"{suffix}{packed}" for suffix in TABLES for packed in ("", *sorted(COMPRESSED))]
    patterns = [f"{place}*{spec.split}*{ending}" for place in places for ending in endings]
    return _snapshot(str(spec.hf), spec.revision, patterns)


def cache_folder() -> Path:
    """Where fetched files lie."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloomery"
    return Path(os.environ.get(CACHE) or usual)


def _fits(path: Path, folder: Path, spec: SourceSpec) -> bool:
    name = path.relative_to(folder).as_posix()
    placed = spec.config is None or name.startswith((f"{spec.config}/", f"data/{spec.config}"))
    return placed and format_suffix(path) in TABLES and spec.split in re.split(r"[/_.\-]", name)


def _snapshot(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        with reachable():
            return Path(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"the dataset `{repository}` cannot be fetched from the Hub: {reason(error)}",
            fix="check its name, revision, your network and access token; or download it and use `path`",
        ) from None


def _matching(folder: Path, pattern: str, path: str) -> list[Path]:
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    if not files:
        raise InputError(f"`path: {path}` matches no file of the dataset", fix="check the file's name")
    return files


def _fetch_s3(rest: str) -> list[Path]:
    files = _filesystem()
    try:
        names = sorted(files.glob(rest)) if any(c in rest for c in "*?[") else [rest]
        copies = [_copy_s3(files, name) for name in names]
    except (OSError, PermissionError, ValueError) as error:
        message = f"`path: s3://{rest}` cannot be read: {error}"
        raise InputError(message, fix="check bucket, key and credentials") from None
    if not copies:
        raise InputError(f"`path: s3://{rest}` matches no object", fix="check bucket and key")
    return copies


def _copy_s3(files: Any, name: str) -> Path:
    name = name.lstrip("/")
    about = files.info(name)
    version = str(about.get("ETag") or about.get("LastModified") or about.get("created") or "") + str(about.get("size"))
    folder = cache_folder() / "remote" / hashlib.sha256(f"s3://{name}\x00{version}".encode()).hexdigest()[:20]
    copy = folder / name.rsplit("/", 1)[-1]
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{copy.name}.{os.getpid()}.part"
        files.get_file(name, str(partial))
        partial.replace(copy)
    return copy


def _filesystem() -> Any:
    import fsspec

    try:
        return fsspec.filesystem("s3")
    except ImportError:
        raise InputError("reading `s3://` needs the extra `s3`", fix="pip install 'bloomery[s3]'") from None
