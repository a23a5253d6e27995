"""One tiny model and one finished run that the tests of a worker share; each test has a working folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny import Told, bloomery, model_folder, workshop


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that nobody changes."""
    return model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    """A working folder with the finished run `whole`, and what the command said; nobody changes it."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(cache))
        folder = workshop(tmp_path_factory.mktemp("finished"), model)
        told = bloomery("run", "recipe.yaml", "name=whole", within=folder)
    assert told.status == 0, told.err
    return folder, told


@pytest.fixture
def here(model: Path, tmp_path: Path) -> Path:
    """A working folder with a recipe, rows and the model."""
    return workshop(tmp_path / "work", model)


@pytest.fixture
def after(finished: tuple[Path, Told], tmp_path: Path) -> Path:
    """A copy of the working folder in which `whole` is finished, to be changed."""
    return Path(shutil.copytree(finished[0], tmp_path / "work", symlinks=True))
