"""The reward of a run, as it is trained by: its grader, patient with servers; a judge's drift; alarms as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def saying(trainer: Trainer) -> Callable[[str], None]:
    """Prints one line for a person, on standard error; nothing where the run is quiet."""
    return (lambda text: None) if trainer.job.quiet else (lambda text: print(text, file=sys.stderr, flush=True))
