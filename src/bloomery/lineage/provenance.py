"""Where a run came from: software, code, machine, seeds, and hashes of the start model, the recipe and the data.

One `provenance` event opens every run and every resumption of it. It holds nothing of the environment but
what changes how a run computes, and the command line with secrets hidden.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import bloomery
from bloomery.core.errors import InputError, Where
from bloomery.core.files import canonical_hash, sha256_file, verify_ours
from bloomery.core.secret import scrub, tuning_environment

EVENT = "provenance"
"""Name of the event in `events.jsonl`."""

RECORDED = (
    "bloomery",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "numpy",
    "pyarrow",
    "pydantic",
    "liger-kernel",
    "torchao",
)
"""Packages whose version can change a result."""

_MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".txt")


@dataclass(frozen=True, slots=True)
class Start:
    """What a run starts from.

    `ref` is as the recipe says (`ember/midtrained`, a run's name, a folder, a Hub id); `path` is the folder that
    was loaded, None for a scaffold made from a configuration; `run` names the run it belongs to, if it is one of ours;
    `sha256` is `model_hash(path)`. Of a Hub model, `repo`, the `revision` that was asked for and the `commit` it was.
    """

    ref: str
    path: str | None = None
    run: str | None = None
    sha256: str | None = None
    repo: str | None = None
    revision: str | None = None
    commit: str | None = None

    @classmethod
    def of_folder(cls, ref: str, folder: Path) -> Start:
        """Describe a model folder or checkpoint, finding out whether it lies in a run folder."""
        path = folder.resolve()
        owner = next((parent for parent in path.parents if (parent / "recipe.yaml").is_file()), None)
        inside = owner is not None and path.relative_to(owner).parts[0] in ("model", "checkpoints")
        return cls(ref, str(path), owner.name if owner and inside else None, model_hash(path))


def gather(
    start: Start,
    recipe: str,
    data: Mapping[str, str],
    seeds: Mapping[str, int],
    folder: Path | None = None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """The fields of a `provenance` event, as JSON.

    `recipe` is the recipe's text, `data` maps source names to content hashes, `folder` is the recipe's, whose
    git commit is recorded beside that of our own code.
    """
    return {
        "start": asdict(start),
        "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
        "data": dict(data),
        "seeds": dict(seeds),
        "versions": versions(),
        "commit": {
            "bloomery": git_commit(Path(bloomery.__file__).parent),
            "recipe": git_commit(folder) if folder else None,
        },
        "machine": machine(),
        "environment": tuning_environment(),
        "command": [scrub(word) for word in argv],
    }


def versions() -> dict[str, str]:
    """Installed versions of Python and of `RECORDED`, read from their metadata without importing them."""
    return dict(_versions())


@cache  # reading the metadata takes longer than opening a small model, and a run asks three times
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in RECORDED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)


def machine() -> dict[str, str | int]:
    """Operating system, architecture and cores; no host or user name, since reports are shared."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
        "byteorder": sys.byteorder,
    }


def git_commit(folder: Path) -> dict[str, str | bool] | None:
    """`{"commit": hash, "changed": bool}` of the git checkout that tracks `folder`, None where there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    tracked = commit and _git(folder, "ls-files", "--", ".")
    if not commit or not tracked:
        return None
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def model_hash(folder: Path) -> str:
    """Hex sha256 that stands for a model folder's content.

    For a folder that we published, its manifest's own hash, which covers every file; they are read and must agree. For
    any other, the hash over names and sha256 of its weights, configuration and tokenizer. Raises `DamagedError` where
    the bytes are not the manifest's, `InputError` when there is nothing to hash.
    """
    if ours := verify_ours(folder):
        return ours
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in _MODEL_FILES) if folder.is_dir() else []
    if not files:
        raise InputError("holds no model: neither weights nor configuration", where=Where(folder))
    return canonical_hash({path.name: sha256_file(path) for path in files})


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=5,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
