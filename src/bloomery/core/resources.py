"""Where the shipped families and recipes are: beside the code in a checkout, inside the package in a wheel."""

from __future__ import annotations

from pathlib import Path

import bloomery
from bloomery.core.errors import DamagedError, Where


def families_dir() -> Path:
    """The folder of family files and their checkpoints. Raises `DamagedError` where the installation lacks it."""
    return _shipped("families")


def recipes_dir() -> Path:
    """The folder of shipped recipes. Raises `DamagedError` where the installation lacks it."""
    return _shipped("recipes")


def _shipped(name: str) -> Path:
    package = Path(bloomery.__file__).resolve().parent
    checkout = package.parents[1]
    # A checkout comes first: an editable installation may hold an older copy inside the package.
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    if (package / f"_{name}").is_dir():
        return package / f"_{name}"
    raise DamagedError(
        f"the installation lacks its {name}", where=Where(package), fix="pip install --force-reinstall bloomery"
    )
