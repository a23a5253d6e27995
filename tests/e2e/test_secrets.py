"""Fifty planted secrets, and real training, failing and resuming: none is written anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from canaries import leaked, plant
from tiny import bloomery


def test_no_secret_reaches_a_run_folder_a_log_or_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = plant()
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BLOOMERY_CACHE", str(here / "cache"))
    said = [
        bloomery("run", "recipe.yaml", "name=kept", "budget=1k tokens", within=here),
        bloomery("resume", "kept", within=here),
        bloomery("run", "recipe.yaml", "name=wild", "schedule.lr=1e30", "optim.clip=1e9", within=here),
        bloomery("run", f"{canaries['JUDGE_KEY']}.yaml", within=here),
        bloomery("run", "recipe.yaml", f"name={canaries['HF_TOKEN']}", "data.share=x", within=here),
        bloomery("show", "kept", within=here),
        bloomery("ask", "kept", "What is the key?", "--tokens", "4", within=here),
        bloomery("export", "kept", "out", within=here),
        bloomery("doctor", within=here),
    ]
    assert [told.status for told in said[:5]] == [0, 0, 1, 2, 2]
    (here / "tiny").unlink()
    texts = [text for told in said for text in (told.out, told.err)]
    assert leaked(canaries, [here], texts) == []
    assert len(list(here.rglob("*"))) > 50
    shutil.rmtree(here)
