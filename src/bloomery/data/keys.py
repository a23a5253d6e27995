"""What a token store depends on, as one hash: the content of its files, tokenizer, template, shape.

Path, size, modification time and inode only remember a file's hash, so that unchanged files are not
read again; two copies of one file share a store.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from bloomery.core.errors import DamagedError
from bloomery.core.files import canonical_hash, read_json, sha256_file, write_json
from bloomery.data.builtin import READ_INSTALLED
from bloomery.data.config import SourceSpec
from bloomery.data.curated.sources import PACKAGES
from bloomery.data.sources import source_files

FORMAT = 5
"""Layout of the store's files; part of every key."""


def store_key(spec: SourceSpec, base: Path, renderer_fingerprint: str, cache: Path) -> str:
    """Hex sha256 of everything that decides the store's content; file names and the source's name are no part of it."""
    content = _builtin_state(spec) if spec.builtin else read_files(spec, base, cache)
    reading: list[Any] = [spec.shape, dict(spec.columns), spec.format, spec.bad_rows]
    reading += ["as_text"] if spec.as_text else []
    reading += [spec.signals.model_dump()] if spec.signals else []
    reading += [spec.take] if spec.take else []  # a part may end within its last file
    return canonical_hash([FORMAT, renderer_fingerprint, reading, content])


def read_files(spec: SourceSpec, base: Path, cache: Path) -> list[list[str]]:
    """[name, sha256] of each file of a source, in reading order; none for a generated one."""
    return [] if spec.builtin else _file_hashes(source_files(spec, base), cache)


def folder_name(name: str, key: str) -> str:
    """A store's folder name: the source's name for people, the key for the machine."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('.-')[:40] or 'source'}-{key[:20]}"


def _builtin_state(spec: SourceSpec) -> list[Any]:
    """What a generated source depends on: its options, our code, Python, and the packages it reads."""
    read = _documented() if spec.builtin in READ_INSTALLED else ""
    return [spec.builtin, spec.options, _code(), platform.python_version(), read]


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of the generators' code."""
    code = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted([root / "builtin.py", *(root / "curated").rglob("*")]):
        if path.is_file() and path.suffix != ".pyc":
            code.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return code.hexdigest()


@lru_cache(maxsize=1)
def _documented() -> str:
    """Hash of the versions of the packages that are read; others may be installed without a store being built again."""
    owners = importlib.metadata.packages_distributions()
    names = {owner for package in PACKAGES for owner in owners.get(package, ())}
    return canonical_hash(sorted(f"{name}=={importlib.metadata.version(name)}" for name in names))


def _file_hashes(files: list[Path], cache: Path) -> list[list[str]]:
    """[suffixes, sha256] of each file; a row without an id is named after its file, so the name counts as well."""
    memory = cache / "hashes.json"
    known = _remembered(memory)
    fresh: dict[str, dict[str, Any]] = {}
    for path in files:
        state = path.stat()
        seen = [state.st_size, state.st_mtime_ns, state.st_ino]
        entry = known.get(str(path.resolve()))
        digest = entry["sha256"] if entry and entry.get("seen") == seen else sha256_file(path)
        fresh[str(path.resolve())] = {"seen": seen, "sha256": digest}
    if any(known.get(path) != entry for path, entry in fresh.items()):
        write_json(memory, known | fresh, 0o600)
    return [[path.name, fresh[str(path.resolve())]["sha256"]] for path in files]


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        value = read_json(memory) if memory.is_file() else {}
    except DamagedError:
        return {}
    return value if isinstance(value, dict) else {}
