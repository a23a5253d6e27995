"""What a recipe says about proof and order: the forgetting budget, evaluation, the steps of a pipeline.

A field left at None is derived by `resolve.py`; the text under a field is its description in the
JSON Schema that `bloomery schema` prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.graders.nested import mapped
from bloomery.recipes.data_section import absolute, as_sources
from bloomery.recipes.fields import Amount, Section, Share, Tokens


def whole_grader(spec: Mapping[str, Any], base: Path, trusted: bool, own: bool = True) -> dict[str, Any]:
    """A grader that means the same anywhere: paths in full, and whether its code may run; so for every one inside it.

    Code may run where all of it is `trusted`, or by its `own` word where that counts.
    """

    def whole(one: Mapping[str, Any]) -> dict[str, Any]:
        found = absolute(one, base)
        for key in ("judge", "embedder"):  # a model folder beside the file, or a name that means the same anywhere
            if isinstance(one.get(key), str) and (base / one[key] / "config.json").is_file():
                found[key] = str(base / one[key])
        if one.get("type") == "python" or "trusted" in one:
            found["trusted"] = trusted or (own and one.get("trusted") is True)
        return found

    return mapped(spec, whole)


LEAST_REPLAY, LEAST_RATE = 0.01, 0.1


class Keep(Section):
    """The forgetting budget; it gates the exit status."""

    general: Share | None = None
    """Largest rise in bits per byte on the family's general text, relative to the start checkpoint."""
    hold: bool = False
    """Steer by it while training: more replay, and where that is not enough a lower rate, as soon as the loss heads
    beyond the budget; less replay where there is room."""
    replay: tuple[Share, Share] = (0.01, 0.95)
    """With `hold`: the least and the most replay, in parts of all tokens."""
    rate: Share = 0.1
    """With `hold`: the smallest part of the scheduled learning rate."""

    @field_validator("replay")
    @classmethod
    def _least_first(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not LEAST_REPLAY <= low < high < 1:
            raise InputError(
                f"`keep.replay: [{low:.4g}, {high:.4g}]` are no bounds",
                fix="write the least, at 1 % or above, then the most, below 100 %, such as `[1%, 95%]`",
            )
        return value

    @field_validator("rate")
    @classmethod
    def _some_rate(cls, value: float) -> float:
        if value < LEAST_RATE:
            raise InputError(f"`keep.rate: {value:.4g}` stops the run from learning", fix="write 10 % or more")
        return value

    @model_validator(mode="after")
    def _bounds_of_something(self) -> Keep:
        if self.hold and self.general is None:
            raise InputError("`keep.hold` holds a budget, and none is set", fix="add `general: 1%` beside it")
        if self.hold and not self.general:
            fix = "write the rise that you accept, such as `0.5%`"
            raise InputError("`keep.general: 0%` leaves nothing to steer by: any noise is beyond it", fix=fix)
        return self


class EvalSection(Section):
    """What the model is judged by, beside the start checkpoint in the same run."""

    domain: list[SourceSpec] | None = None
    """Held-out domain rows. Default: `data.holdout` of the domain data."""
    grader: dict[str, Any] | None = None
    """How answers to held-out pairs and conversations are graded, such as `{type: exact}`. Default: they are not."""
    every: Amount | None = None
    """How often the loss on held-out rows is measured during training, beside every checkpoint. Default: eight times in
    the run."""
    watch: Tokens | None = None
    """Tokens of each held-out set that are then read. Default: what a twentieth of the run's computing pays for."""
    answers: int = Field(default=400, ge=40)
    """With `objective: rl`: answers, or rollouts of several turns, to the held-out tasks of a source in all: 40 or
    more. Half of them go to tasks that are attempted four times, for pass@4, the rest to others, once each."""
    judge: str | dict[str, Any] | None = None
    """Who judges where a grader asks a model and names none: a run, a folder or FAMILY/STAGE, or a server:
    `{url, model, key: {env: NAME}}`."""
    suites: list[str] | Literal["auto", "none"] = "auto"
    """Names of the family's suites, `auto` (all of them that suit the stage), `responsible`, or files of suites."""

    @field_validator("domain", mode="before")
    @classmethod
    def _domain_list(cls, value: Any) -> Any:
        return None if value is None else as_sources(value)

    @model_validator(mode="before")
    @classmethod
    def _file(cls, value: Any) -> Any:
        return {"domain": value} if isinstance(value, str | list) else value


class Step(Section):
    """One step of a pipeline; a run resumes at the step that failed."""

    do: Literal["train", "evaluate", "export"]
    """What the step does."""
    name: str | None = None
    """Default: what it does."""
    to: str | None = None
    """Folder of an `export`. Default: `model/` in the run folder."""
    set: dict[str, Any] = {}
    """Keys of the recipe that differ in this step, dotted or nested, such as `{objective: sft, budget: 2M tokens}`."""

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"do": value} if isinstance(value, str) else value
