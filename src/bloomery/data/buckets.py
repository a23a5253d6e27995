"""Object stores and other places that fsspec has a file system for: `s3://`, `gs://`, `az://`, `https://`, ..."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from bloomery.core.errors import InputError, nearest
from bloomery.core.hub import reason
from bloomery.data.hubfiles import BLOCK

PACKAGES = {"s3": "bloomery[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "https": "aiohttp"}
"""What to install for a scheme, where fsspec cannot do without."""

Result = TypeVar("Result")


def copies(path: str, cache: Path) -> list[Path]:
    """Local copies of the objects that a path names, globs allowed; fetched once for each version of them."""
    return reading(path, lambda: [_copy(path, name, cache) for name in _names(path)])


def listed(path: str) -> list[tuple[str, int, str]]:
    """(path, bytes, version) of every object that a path names, globs allowed, sorted."""
    files = filesystem(path)
    return reading(path, lambda: [(files.unstrip_protocol(n), *_state(files.info(n))) for n in _names(path)])


def open_object(path: str, version: str) -> IO[bytes]:
    """An object, read as far as it is looked at. Raises `InputError` where it has changed since it was listed."""
    files = filesystem(path)
    now = reading(path, lambda: _state(files.info(path))[1])
    if now != version:
        raise InputError(
            f"`{path}` has changed since it was first read",
            fix="give changed data a new path; what was read before is then left as it is",
        )
    return cast("IO[bytes]", reading(path, lambda: files.open(path, "rb", block_size=BLOCK)))


def reading(path: str, action: Callable[[], Result]) -> Result:
    """What `action` returns; the file system's errors become an `InputError` that names the path."""
    try:
        return action()
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        fix = "check bucket, key and credentials, and your network"
        raise InputError(f"`path: {path}` cannot be read: {reason(error)}", fix=fix) from None


def filesystem(path: str) -> Any:
    """The file system of a path. Raises `InputError` for a scheme that nobody knows or whose package is not here."""
    import fsspec

    scheme = path.partition("://")[0]
    try:
        return fsspec.filesystem(scheme)
    except ImportError:
        package = PACKAGES.get(scheme, f"the package of fsspec for `{scheme}`")
        install = f"pip install '{package}'" if scheme in PACKAGES else f"install {package}"
        extra = "the extra `s3`" if scheme == "s3" else package
        raise InputError(f"reading `{scheme}://` needs {extra}", fix=install) from None
    except (ValueError, TypeError):
        known = [*PACKAGES, "hf", "file", "http"]
        raise InputError(
            f"`path: {path}`: `{scheme}://` is not supported{nearest(scheme, known)}",
            fix="use a local path, `hf://`, `s3://`, `gs://`, `az://`, `https://` or another that fsspec knows",
        ) from None


def _names(path: str) -> list[str]:
    files = filesystem(path)
    names = sorted(files.glob(path)) if any(c in path for c in "*?[") else [files._strip_protocol(path)]
    if not names:
        raise InputError(f"`path: {path}` matches no object", fix="check bucket and key")
    return names


def _state(about: dict[str, Any]) -> tuple[int, str]:
    stamp = about.get("ETag") or about.get("LastModified") or about.get("mtime") or about.get("created") or ""
    return int(about.get("size") or 0), f"{stamp}{about.get('size')}"


def _copy(path: str, name: str, cache: Path) -> Path:
    files = filesystem(path)
    whole, version = files.unstrip_protocol(name), _state(files.info(name))[1]
    folder = cache / "remote" / hashlib.sha256(f"{whole}\x00{version}".encode()).hexdigest()[:20]
    copy = folder / name.rsplit("/", 1)[-1]
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{copy.name}.{os.getpid()}.part"
        files.get_file(name, str(partial))
        partial.replace(copy)
    return copy
