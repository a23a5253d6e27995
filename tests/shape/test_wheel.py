"""The wheel carries the families and recipes, and works where the repository is not."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_tree import ROOT

pytest.importorskip("hatchling", reason="the build backend comes with `make venv`")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked as an installer would, outside the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *argv], cwd=installed.parent, env=env, capture_output=True, text=True)


def test_everything_shipped_is_in_the_package(installed: Path) -> None:
    for name in ("families", "recipes"):
        here = {
            p.relative_to(ROOT / name) for p in (ROOT / name).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        }
        there = {
            p.relative_to(installed / f"bloomery/_{name}")
            for p in (installed / f"bloomery/_{name}").rglob("*")
            if p.is_file()
        }
        assert here == there
    assert (installed / "bloomery" / "py.typed").is_file()
    assert {p.name for p in installed.iterdir() if not p.name.endswith(".dist-info")} == {"bloomery"}


def test_the_package_finds_what_it_carries(installed: Path) -> None:
    code = "from bloomery.core.resources import *; print(families_dir()); print(recipes_dir())"
    done = run(installed, "-c", code)
    assert done.stdout.split() == [str(installed / "bloomery/_families"), str(installed / "bloomery/_recipes")], (
        done.stderr
    )


@pytest.mark.skipif(not (ROOT / "families" / "ember" / "midtrained-warm").is_dir(), reason="ember has no weights yet")
def test_the_demo_recipe_is_explained_outside_the_repository(installed: Path) -> None:
    done = run(installed, "-c", "from bloomery.cli import main; main()", "explain", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
