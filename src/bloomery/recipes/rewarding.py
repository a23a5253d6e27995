"""The reward of a run, as it is trained by: its grader, patient with servers; a judge's drift; alarms as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import write_text
from bloomery.graders.nested import walk
from bloomery.recipes.judges import Judges

if TYPE_CHECKING:
    from bloomery.graders.payload import Grader
    from bloomery.rl.drift import Drift
    from bloomery.train.trainer import Trainer


def reward(told: Mapping[str, Any], folder: Path, say: Callable[[str], None]) -> tuple[Grader, Drift | None]:
    """The grader of the section `rollouts`, and what follows its drift where its scores are judged."""
    from bloomery.graders.load import load_grader
    from bloomery.rl.drift import Drift
    from bloomery.rl.outage import Patient

    judges = Judges()

    def fresh() -> Grader:
        return load_grader(told["reward"], given=judges.given())

    grader = fresh()
    drift = None if grader.verified or not told["rescore"] else Drift(fresh, folder, told["rescore"])
    return Patient(grader, told["outage"], say) if is_remote(told["reward"]) else grader, drift


def is_remote(spec: Mapping[str, Any]) -> bool:
    """Whether some of the score comes from a server, which may be out of reach."""
    parts = [part for _, part in walk(spec)]
    return any("url" in part or isinstance(part.get("judge"), Mapping) for part in parts)


def checked_reward(spec: dict[str, Any] | None) -> dict[str, Any] | None:
    """The reward as a grader of held-out answers: where it is checked, and asks no server."""
    from bloomery.graders.load import load_grader

    return spec if spec and not is_remote(spec) and load_grader(spec).verified else None


def told_to(trainer: Trainer) -> Callable[[int, dict[str, float]], None]:
    """What is done with a step's figures: they go to the event log and the trackers, and an alarm to the screen."""
    from bloomery.rl.alarms import Watch

    watch, say = Watch(), saying(trainer)

    def told(step: int, figures: dict[str, float]) -> None:
        trainer.log("rollouts", step, **figures)
        for name, said in watch.see(figures).items():
            trainer.log("alarm", step, name=name, said=said)
            say(f"step {step}: {said}")

    return told


def draw_rollouts(run: Path) -> Path:
    """Write `rollouts.html` into a run folder, whether the run has ended or not; returns its path.

    Raises `InputError` where the run's log tells of no rollouts.
    """
    from bloomery.evals.html import el
    from bloomery.evals.page import document
    from bloomery.evals.rolled import read_rolled
    from bloomery.evals.rolled_chart import rolled_chart
    from bloomery.evals.rolled_section import lines

    log, path = run / "events.jsonl", run / "rollouts.html"
    rolled = read_rolled(log) if log.is_file() else None
    if rolled is None:
        raise InputError("has no rollouts with a reward", where=Where(log), fix="name a run of `objective: rl`")
    said = [el("p", line, class_="lead") for line in lines(rolled)]
    body = el("section", el("h2", "Learning from rewards"), said, el("figure", rolled_chart(rolled)))
    write_text(path, document(f"{run.name} · rollouts", el("h1", run.name), body))
    return path


def saying(trainer: Trainer) -> Callable[[str], None]:
    """Prints one line for a person, on standard error; nothing where the run is quiet."""
    return (lambda text: None) if trainer.job.quiet else (lambda text: print(text, file=sys.stderr, flush=True))
