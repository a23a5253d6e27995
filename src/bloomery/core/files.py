"""Files that survive a kill: written to a temporary name, synced, renamed; folders carry a sha256 manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bloomery.core.errors import BloomeryError, DamagedError, Where

MANIFEST = "manifest.json"


def sync_dir(folder: Path) -> None:
    """Make renames inside `folder` durable (fsync of the directory)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` atomically and durably; readers see the old or the new file, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode(), mode)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """`write_bytes` of indented JSON with a final newline; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", mode)


def read_json(path: Path) -> Any:
    """Parse a JSON file of ours; raises `DamagedError` naming the file when it does not parse."""
    try:
        return json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedError(f"not readable as JSON: {error}", where=Where(path)) from None


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in 4 MB pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def canonical_hash(value: Any) -> str:
    """Hex sha256 of a JSON value with sorted keys: equal values give equal hashes on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def publish_folder(building: Path, final: Path, about: dict[str, Any] | None = None) -> None:
    """Hash every file under `building` into its manifest, sync them and rename the folder to `final`.

    `final` must not exist. After this returns, the folder survives a crash and `verify_folder` vouches for it.
    """
    files = {}
    for path in sorted(p for p in building.rglob("*") if p.is_file()):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(building).as_posix()] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    write_json(
        building / MANIFEST, {"about": about or {}, "files": files, "self": canonical_hash([about or {}, files])}
    )
    for folder in sorted(p for p in building.rglob("*") if p.is_dir()):
        sync_dir(folder)
    sync_dir(building)
    os.rename(building, final)
    sync_dir(final.parent)


def verify_folder(folder: Path) -> dict[str, Any]:
    """Re-hash a published folder and return its manifest's `about`.

    Raises `DamagedError` naming the first file that is missing, has another size or another hash.
    """
    if not (folder / MANIFEST).is_file():
        raise DamagedError("has no manifest: it was never completely written", where=Where(folder))
    manifest = read_json(folder / MANIFEST)
    try:
        about, files, own = manifest["about"], dict(manifest["files"]), manifest["self"]
    except (KeyError, TypeError, ValueError):
        raise DamagedError("the manifest lacks a field", where=Where(folder / MANIFEST)) from None
    if own != canonical_hash([about, files]):
        raise DamagedError("the manifest does not match its own hash", where=Where(folder / MANIFEST))
    if not all(isinstance(expected, dict) and {"sha256", "bytes"} <= expected.keys() for expected in files.values()):
        raise DamagedError("the manifest lacks a field", where=Where(folder / MANIFEST))
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise DamagedError("listed in the manifest but missing", where=Where(path))
        if path.stat().st_size != expected["bytes"]:
            raise DamagedError(
                f"has {path.stat().st_size:,} bytes, the manifest says {expected['bytes']:,}", where=Where(path)
            )
        if sha256_file(path) != expected["sha256"]:
            raise DamagedError("its sha256 differs from the manifest's: the bytes changed on disk", where=Where(path))
    result: dict[str, Any] = about
    return result


def verify_ours(folder: Path) -> str | None:
    """Verify a model folder that carries a manifest of ours; its hash over all it lists, None without such a manifest.

    Reads every byte, about 1 s a GB, but only once a process while sizes and times of the files stay the same.
    Raises `DamagedError` that says what to do, also where somebody changed the folder on purpose.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file() or not _is_ours(manifest):
        return None
    stats = ((path, path.stat()) for path in sorted(folder.resolve().rglob("*")))
    try:
        return _verified(folder, tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats))
    except DamagedError as error:
        fix = f"get the folder anew; if it was changed on purpose, remove {manifest}, and it is taken as it is"
        raise DamagedError(error.message, where=error.where, fix=fix) from None


def _is_ours(manifest: Path) -> bool:
    """Whether it has our fields, a damaged name of one allowed for; what is no JSON counts as ours, damaged."""
    try:
        value = json.loads(manifest.read_bytes())
    except RecursionError:
        return False
    except ValueError:
        return True
    return isinstance(value, dict) and len({"about", "files", "self"} & value.keys()) >= 2


@lru_cache(maxsize=64)
def _verified(folder: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    verify_folder(folder)
    return str(read_json(folder / MANIFEST)["self"])


@contextlib.contextmanager
def building_folder(final: Path, about: dict[str, Any] | None = None, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty temporary folder beside `final`; publish it on success, remove it on any error.

    `mode`, less the umask, is the folder's: 0o700 keeps all that lies in it to its owner.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    building = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.building"
    building.mkdir(mode)
    try:
        yield building
        publish_folder(building, final, about)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def sweep_unfinished(folder: Path) -> None:
    """Remove what killed writers left half written directly in `folder`; only its one writer may call this."""
    for path in folder.glob(".*.building"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock file; a second holder is refused, naming the first one's process and host.

    The kernel drops the lock when the holder dies, so a `kill -9` never leaves a stale one behind.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise BloomeryError(
                f"{what} is in use by {holder}", where=Where(path), fix="wait for it, or stop it"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


@contextlib.contextmanager
def waiting_lock(path: Path, what: str) -> Iterator[None]:
    """`lock` that waits for the other process instead of refusing."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(lock(path, what))
                break
            except BloomeryError:
                time.sleep(0.2)
        yield
