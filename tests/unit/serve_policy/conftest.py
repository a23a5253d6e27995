"""Policies written in a test, and guards made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from policies import Guarded, Write

from bloomery.serve.policy.guard import PolicyGuard
from bloomery.serve.policy.load import load_policy


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "policy.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


@pytest.fixture
def guarded(write: Write) -> Guarded:
    def made(text: str, **options: Any) -> tuple[PolicyGuard, list[dict[str, Any]]]:
        events: list[dict[str, Any]] = []
        return PolicyGuard(load_policy(write(text)), events.append, **options), events

    return made
