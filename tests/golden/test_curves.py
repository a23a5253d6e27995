"""Loss curves at full precision, recorded once. A change that moves them must say why and record them again:

PYTHONPATH=tests/support .venv/bin/python tests/golden/test_curves.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest
from toys import toy_config, toy_job, toy_model

from bloomery.core.events import read_events
from bloomery.train.config import Optim
from bloomery.train.loop import train

RECORDED = Path(__file__).with_name("curves.json")
STEPS = 20
RUNS = {
    "fp32 packed": ({}, {}),
    "fp32 padded": ({}, {"packing": "padded"}),
    "fp32 no z-loss, one row a micro-batch": ({"micro_tokens": 1, "optim": Optim(z_loss=0.0)}, {}),
    "bf16 packed": ({"precision": "bf16"}, {}),
}
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}
"""fp32 differs by CPU in the order of sums; bf16 products differ by CPU in more than that."""


def curve(name: str, folder: Path) -> list[float]:
    config, model = RUNS[name]
    loaded = toy_model()
    for key, value in model.items():
        setattr(loaded, key, value)
    train(toy_job(folder, toy_config(STEPS, checkpoint_every=100, **config), loaded=loaded))
    return [event["loss"] for event in read_events(folder / "events.jsonl", "step")]


@pytest.mark.parametrize("name", RUNS)
def test_the_curve_is_the_recorded_one(name: str, tmp_path: Path) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    assert curve(name, tmp_path) == pytest.approx(recorded, abs=TOLERANCE[name.split()[0]])


def test_packing_does_not_change_the_curve() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert recorded["fp32 packed"] == pytest.approx(recorded["fp32 padded"], abs=2e-5)


def test_the_toy_learns() -> None:
    recorded = json.loads(RECORDED.read_text())["fp32 packed"]
    assert sum(recorded[-3:]) < 0.9 * sum(recorded[:3])


if __name__ == "__main__":
    found = {}
    for each in RUNS:
        with tempfile.TemporaryDirectory() as place:
            found[each] = curve(each, Path(place))
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"recorded {len(found)} curves\n")
