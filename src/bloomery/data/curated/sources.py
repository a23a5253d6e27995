"""Where installed documentation lies: source files of our runtime dependencies and of the standard library.

Files are found, never imported: importing thousands of modules would be slow and would run their code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "accelerate", "anyio", "click", "filelock", "fsspec", "httpcore2", "httpx2", "huggingface_hub", "jinja2",
    "markdown_it", "markupsafe", "mpmath", "networkx", "numpy", "packaging", "peft", "psutil", "pyarrow",
    "pydantic", "pygments", "regex", "rich", "ruamel", "safetensors", "sympy", "tokenizers", "torch", "torchgen",
    "tqdm", "transformers", "typer", "typing_extensions", "typing_inspection", "yaml", "zstandard",
)  # fmt: skip
"""Import names of the runtime dependencies whose docstrings are read; one that is not installed is passed over."""

SKIPPED_FOLDERS = frozenset(
    {
        "tests",
        "test",
        "testing",
        "_testing",
        "_vendor",
        "vendored_packages",
        "site-packages",
        "dist-packages",
        "idlelib",
        "lib2to3",
        "ensurepip",
        "__pycache__",
        "turtledemo",
        "msilib",
    }
)


_TESTS = ("test_", "conftest")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One Python file and the dotted name of the module in it."""

    path: Path
    module: str


def source_files(fraction: float = 1.0) -> Iterator[SourceFile]:
    """Every documented source file, by package and path; `fraction` < 1 picks that share by hash of the name."""
    roots = [(Path(sysconfig.get_paths()["stdlib"]), "")]
    roots += [(folder, name) for name in PACKAGES for folder in _folders(name)]
    for root, package in roots:
        for parts in _modules(root):
            module = ".".join(part for part in (package, *parts) if part and part != "__init__")
            if _unit_interval(module) < fraction:
                yield SourceFile(root.joinpath(*parts[:-1], f"{parts[-1]}.py"), module)


def _modules(root: Path) -> list[tuple[str, ...]]:
    """Path parts of the modules under `root`, without `.py`, sorted; skipped folders are not entered."""
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if name not in SKIPPED_FOLDERS]
        above = Path(folder).relative_to(root).parts
        found += [(*above, name[:-3]) for name in files if name.endswith(".py") and not name.startswith(_TESTS)]
    return sorted(found)


def _folders(package: str) -> list[Path]:
    """Folders of an installed package; `find_spec` of a top-level name looks without importing."""
    spec = importlib.util.find_spec(package)
    return sorted(Path(place) for place in (spec.submodule_search_locations or ())) if spec else []


def _unit_interval(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
