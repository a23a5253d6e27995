from __future__ import annotations

from pathlib import Path

import pytest

import bloomery
from bloomery.core.errors import DamagedError
from bloomery.core.resources import families_dir, recipes_dir


def test_a_checkout_uses_its_own_families_and_recipes(repository: Path) -> None:
    assert families_dir() == repository / "families"
    assert recipes_dir() == repository / "recipes"


def test_an_installed_wheel_uses_what_lies_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "bloomery"
    (package / "_families").mkdir(parents=True)
    monkeypatch.setattr(bloomery, "__file__", str(package / "__init__.py"))
    assert families_dir() == package / "_families"
    with pytest.raises(DamagedError, match="lacks its recipes"):
        recipes_dir()
