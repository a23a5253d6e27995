"""A training by rewards is read back from its log and drawn, whole and while it goes on."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.evals.rolled import read_rolled
from bloomery.evals.rolled_chart import PANELS, rolled_chart
from bloomery.recipes.rewarding import draw_rollouts


def log(folder: Path, steps: int = 30) -> Path:
    """Events of a run whose reward rises from 0 to 1; its third step was done twice."""
    lines: list[dict[str, Any]] = [{"event": "base", "step": 0, "said": "5% right [1%, 20%], mean reward 0.05"}]
    for step in [2, *range(steps)]:
        share = step / (steps - 1)
        rare = {"kl_start": 0.01 * step, "held_pass_1": share, "held_pass_k": 1.0, "held_k": 4}
        lines.append(
            {
                "event": "rollouts", "step": step, "reward": share, "reward_std": 0.2, "reward_best": 1.0,
                "reward/form": 0.5, "level_groups": 0.1, "rollouts": 8, "unscorable": 1, "length": 20 + step,
                "sampling_s": 2.0, "grading_s": 1.0,
            }
            | (rare if step % 10 == 0 else {})
        )  # fmt: skip
        lines.append({"event": "step", "step": step + 1, "seconds": 4.0, "policy_entropy": 2.0, "policy_drift": 0.0})
    lines.append({"event": "alarm", "step": 12, "name": "level groups", "said": "<most> groups are level"})
    path = folder / "events.jsonl"
    path.write_text("".join(json.dumps({"time": 0, **line}) + "\n" for line in lines))
    return path


def test_figures_of_a_log_come_by_step_once_each(tmp_path: Path) -> None:
    found = read_rolled(log(tmp_path))
    assert found is not None and [step for step, _ in found.of("reward")] == list(range(30))
    assert found.of("policy_entropy")[0] == (0, 2.0) and found.components == ["form"]
    assert found.seconds() == {"sampling": 60.0, "grading": 30.0, "training": 30.0}
    assert "Mean reward 0.0345 in the first 3 steps, 0.966 in the last." in found.said
    assert "sampling 50%, grading 25%, training 25%" in found.said and found.alarms == (
        (12, "<most> groups are level"),
    )


def test_every_figure_that_was_told_has_its_panel(tmp_path: Path) -> None:
    found = read_rolled(log(tmp_path))
    assert found is not None
    drawn = ElementTree.fromstring(rolled_chart(found))
    titles = [text.text for text in drawn.iter("text") if text.get("class") == "chart-title"]
    assert titles == [PANELS[name](found).title for name in PANELS if name != "staleness"]
    assert "pass@4" in [text.text for text in drawn.iter("text")]


def test_a_run_is_drawn_before_it_ends_and_one_without_rollouts_is_refused(tmp_path: Path) -> None:
    log(tmp_path, steps=2)
    page = draw_rollouts(tmp_path).read_text()
    assert "Learning from rewards" in page and "&lt;most&gt; groups are level" in page and "<script" not in page
    (tmp_path / "events.jsonl").write_text('{"time": 0, "event": "start", "step": 0}\n')
    with pytest.raises(InputError, match="has no rollouts with a reward"):
        draw_rollouts(tmp_path)
