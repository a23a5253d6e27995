"""Rate and blend of a plan are shown: in the terminal, as a drawing, and in the run's folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from source_tree import SOURCE
from tiny import bloomery

from bloomery.core.errors import InputError
from bloomery.recipes.course import BLOCKS, WIDE, course_lines, draw
from bloomery.recipes.load import Loaded
from bloomery.recipes.resolve import resolve

Load = Callable[..., Loaded]
TEXT = """\
family: tiny
start: hot
data: {domain: text.jsonl}
budget: 1M tokens
schedule: {kind: wsd, anneal: 50%, shape: linear}
phases:
  - {name: stable, length: 75%, share: 25%}
  - {name: anneal, length: 25%, share: 100%}
"""


def test_the_lines_follow_the_schedule_and_the_shares(recipe: Load) -> None:
    rate, domain, *notes = course_lines(resolve(recipe(TEXT))).splitlines()
    heights = [BLOCKS.index(char) for char in rate[8 : 8 + WIDE]]
    assert heights[: WIDE // 2] == [8] * (WIDE // 2)
    assert heights == sorted(heights, reverse=True) and heights[-1] == 1
    assert rate.endswith("at most 0.001") and domain.endswith("25% to 100%")
    shares = [BLOCKS.index(char) for char in domain[8 : 8 + WIDE]]
    assert (shares.count(2), shares.count(8)) == (round(0.75 * WIDE), WIDE - round(0.75 * WIDE))
    assert [note.split()[0] for note in notes] == ["stable,", "anneal,"]
    assert max(len(line) for line in (rate, domain)) <= 78


def test_a_plan_without_domain_data_and_of_one_step_is_shown_too(recipe: Load) -> None:
    lines = course_lines(resolve(recipe("family: tiny\nstart: warm\nbudget: 1 steps\n"))).splitlines()
    assert len(lines) == 2 and lines[1].endswith("0%")


@pytest.mark.parametrize("form", ["svg", "html"])
def test_the_drawing_is_well_formed_and_names_every_source(recipe: Load, tmp_path: Path, form: str) -> None:
    plan, file = resolve(recipe(TEXT)), tmp_path / f"plan.{form}"
    draw([plan, plan], file)
    text = file.read_text()
    root = ElementTree.fromstring(text if form == "svg" else text[text.index("<svg") : text.index("</svg>") + 6])
    assert root.tag == ("{http://www.w3.org/2000/svg}svg" if form == "svg" else "svg")
    assert "<script" not in text and "http" not in text.replace("http://www.w3.org/2000/svg", "").replace(
        "http-equiv", ""
    )
    last = plan.arm().segments[-1]["start"] + plan.arm().steps
    assert f"anneal, from step {last:,}: text 100%" in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_form_is_refused_before_anything_is_looked_at(tmp_path: Path, recipe: Load) -> None:
    with pytest.raises(InputError, match="neither of"):
        draw([resolve(recipe(TEXT))], tmp_path / "plan.png")
    assert bloomery("explain", "nothing", "--plot", "plan.png", within=tmp_path).status == 2


def test_explain_shows_the_lines_and_writes_the_plot_without_torch(here: Path, recipe: Load) -> None:
    recipe(TEXT)  # whose weights are not there: what is refused is shown all the same
    code = (
        "import sys\nfrom bloomery.cli import main\n"
        "try:\n    main(['explain', 'recipe.yaml', '--plot', 'plan.svg'])\n"
        "except SystemExit as ended:\n    assert 'torch' not in sys.modules\n"
    )
    own = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr
    assert "rate    " in done.stdout and (here / "plan.svg").read_text().startswith("<svg")
