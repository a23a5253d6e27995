"""One tiny model that nobody changes, and for each test a working folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import model_folder, workshop


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def here(model: Path, tmp_path: Path) -> Path:
    return workshop(tmp_path / "work", model)
