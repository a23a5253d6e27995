"""Verbs about models and runs that are no training: ask, export, data show."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery.core.errors import InputError, Where
from bloomery.recipes.find import find_model
from bloomery.recipes.load import load_recipe
from bloomery.recipes.opening import opened
from bloomery.recipes.plan import Plan
from bloomery.recipes.publish import publish_model
from bloomery.recipes.ready import resolved
from bloomery.recipes.start import RUNS

if TYPE_CHECKING:
    pass


def ask(model: str, prompt: str, *, max_new_tokens: int = 128, temperature: float = 0.0, seed: int = 0) -> str:
    """One answer. Raises `InputError` for an empty prompt or one longer than the context."""
    from bloomery.engine.native import NativeEngine
    from bloomery.engine.protocol import Sampling
    from bloomery.evals.prompts import Prompter

    if not prompt.strip():
        raise InputError("the prompt is empty", fix="ask something")
    loaded = opened(find_model(model))
    ids = Prompter(loaded.tokenizer, "auto").prompt([{"role": "user", "content": prompt}])
    [answer] = NativeEngine(loaded).generate([ids], Sampling(max_new_tokens, temperature, seed=seed))
    text: str = loaded.tokenizer.decode(answer.body, skip_special_tokens=True)
    return text.strip()


def export(run: str, folder: Path) -> Path:
    """Write a run's model as a Hugging Face folder with its card. `folder` must not exist."""
    found = find_model(run)
    if found.run is None:
        raise InputError(f"`{run}` is a model folder already", fix="copy it")
    if folder.exists():
        raise InputError("exists already", where=Where(folder), fix="choose another folder")
    return publish_model(found.run, Plan.read(found.run.plan), folder)


def show_batch(of: str, overrides: Sequence[str] = (), *, step: int = 0, rows: int = 8) -> None:
    """Print rows of one step's batch, trained tokens marked."""
    from rich.console import Console

    from bloomery.data.show import show_step
    from bloomery.recipes.prepare import prepare

    place = next((p for p in (RUNS / of, Path(of)) if (p / "plan.json").is_file()), None)
    plan = Plan.read(place / "plan.json") if place else resolved(load_recipe(of, overrides), lambda text: None)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(plan, Path(folder), lambda text: None)
        if step >= prepared.plan.arm().steps:
            raise InputError(
                f"the run has {prepared.plan.arm().steps} steps, there is no step {step}", fix="change --step"
            )
        source = prepared.source("blend", prepared.plan.get("seeds")[0])
        tokenizer = Path(prepared.plan.get("start.tokenizer"))
        show_step(source.blend, prepared.drawn, step, tokenizer, Console(), rows)
