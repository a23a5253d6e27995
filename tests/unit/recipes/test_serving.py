"""What `bloomery serve` says of a model before it answers."""

from __future__ import annotations

from pathlib import Path

from bloomery.lineage.rundir import RunFolder
from bloomery.recipes.serving import _unmeasured


def test_a_run_that_was_not_measured_is_served_with_a_word_about_it(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "first", recipe="family: ember\n")
    assert "`first` has no report yet" in _unmeasured(run)
    run.report().write_text("{}")
    assert _unmeasured(run) == _unmeasured(None) == ""
