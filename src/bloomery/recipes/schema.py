"""The recipe: every key a person may write, with its type, default and meaning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bloomery.core.errors import InputError
from bloomery.core.secret import Secret
from bloomery.recipes.data_section import Data, Phase
from bloomery.recipes.fields import Amount, Section
from bloomery.recipes.proof_sections import EvalSection, Keep, Step
from bloomery.recipes.scaffold_section import ScaffoldSection
from bloomery.recipes.train_sections import (
    Checkpoints,
    Lora,
    Memory,
    OptimSection,
    PreferenceSection,
    RolloutSection,
    ScheduleSection,
)

ARMS = ("domain-only", "domain-only-equal-total", "curated-only")
"""What is trained beside the recipe's own blend, as proof of what the blend does."""

LARGEST_SEED = 2**32 - 1
"""What every generator takes, those of NumPy and of trackers included."""
MOST_SEEDS = 1000


class Recipe(Section):
    """A training run, as short as its author likes: what is left out is derived and the plan says from what."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the run. Default: the recipe's file name."""
    extends: str | None = None
    """Another recipe (a path relative to this one, or the name of a shipped one) whose keys this one changes."""
    family: str | None = None
    """A model family by name (`bloomery families list`)."""
    model: str | None = None
    """In place of `family`: a folder in Hugging Face format, or a Hub id, which the run fetches into the Hub's cache; a
    gated one with the access token of `token`."""
    revision: str | None = None
    """Branch, tag or commit of a Hub `model`. Left out: its main branch; the plan says which commit that was."""
    scaffold: ScaffoldSection | None = None
    """An empty model to train from nothing, in place of `model`; a `family` beside it lends its tokenizer and curated
    data. Left out: no empty model but those that a family has."""
    token: Secret | None = None
    """Access token for a gated or private start on the Hub, and for Hub data that names none, as `{env: NAME}`: the
    environment variable that holds it. Left out: that of HF_TOKEN or `hf auth login`."""
    start: str = "auto"
    """`auto`, one of the family's stages, `scaffold` (the empty model that `scaffold` describes), or a finished run to
    continue from (its name or folder). A run brings the family that it was made from: beside it, neither `family` nor
    `model` need be named."""
    objective: Literal["auto", "text", "sft", "dpo", "ipo", "kto", "orpo", "rl"] = "auto"
    """What is learned. Auto follows the shape of the rows: `dpo` where there are pairs of a better and a worse answer,
    `kto` where there are judged ones, `sft` when all are conversations or answers, else `text`. `rl` is asked for by
    name: the rows are tasks, and `reward` grades the model's own answers to them."""
    method: Literal["full", "lora", "qlora"] = "full"
    """All weights, low-rank adapters, or adapters over a 4-bit base (GPU)."""
    data: Data = Data()
    """What the model is trained on."""
    use: Literal["commercial", "research", "internal"] | None = None
    """What the model is for; set against the licence of every source. Default: not said, and licences are only told."""
    phases: list[Phase] = []
    """Parts of the run with blends of their own, in order. Default: one blend throughout."""
    budget: Amount | None = None
    """Length of the run: tokens (replay included, padding not), steps, or epochs of the domain data. Default: 1 epoch
    of text, 2 of conversations."""
    schedule: ScheduleSection = ScheduleSection()
    """Learning rate over the run."""
    optim: OptimSection = OptimSection()
    """The optimiser."""
    memory: Memory = Memory()
    """What has to fit, and where."""
    preference: PreferenceSection = PreferenceSection()
    """What is made of preferences."""
    reward: dict[str, Any] | str | None = None
    """With `objective: rl`: the grader of answers, as in suites, or a file that holds it."""
    rollouts: RolloutSection = RolloutSection()
    """With `objective: rl`: how answers are sampled and what becomes of their rewards."""
    keep: Keep = Keep()
    """The forgetting budget."""
    eval: EvalSection = EvalSection()
    """What the model is judged by."""
    arms: list[Literal["domain-only", "domain-only-equal-total", "curated-only"]] = []
    """Controls trained beside the blend: `domain-only` (at equal domain tokens), `domain-only-equal-total` and
    `curated-only` (same start, tokens and schedule)."""
    steps: list[Step] = [Step(do="train"), Step(do="evaluate"), Step(do="export")]
    """The pipeline. Default: train, evaluate, export."""
    lora: Lora = Lora()
    """Low-rank adapters, with `method: lora` or `qlora`."""
    checkpoints: Checkpoints = Checkpoints()
    """When the run saves itself."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of everything random."""
    seeds: int | list[int] = 1
    """How many seeds to train with (`3`), or which (`[1, 2, 3]`); the report then has intervals over seeds."""
    trusted: bool = False
    """Allows the recipe to name Python code, which runs with your rights."""
    report_to: list[Literal["mlflow", "wandb", "tensorboard", "trackio"]] = []
    """Trackers that also get the metrics; the event log is always written."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads. Default: one a physical core."""

    @field_validator("report_to", "arms", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: int | list[int]) -> int | list[int]:
        if isinstance(value, int) and value > MOST_SEEDS:
            raise InputError(f"`seeds: {value}` is a training each", fix=f"write at most {MOST_SEEDS}, or a list")
        seeds = value if isinstance(value, list) else list(range(value))
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise InputError(f"`seeds: {value}` names no distinct seeds", fix="write a number above zero, or a list")
        if max(seeds) > LARGEST_SEED:
            raise InputError(f"`seeds: {value}` goes beyond {LARGEST_SEED}", fix="write smaller ones")
        return value

    @model_validator(mode="after")
    def _one_model(self) -> Recipe:
        if self.family and self.model:
            raise InputError("the recipe names both `family` and `model`", fix="remove one of them")
        if self.scaffold:
            self._refuse_other_start()
        elif not (self.family or self.model) and self.start == "scaffold":
            fix = "add `scaffold: {depth: 12}`, or a `family` that has one"
            raise InputError("`start: scaffold` names no empty model", fix=fix)
        elif not (self.family or self.model) and self.start == "auto":
            fix = "name one of them: a family, or a folder or Hub id; or a run to continue from, by `start`"
            raise InputError("the recipe names neither `family` nor `model`", fix=fix)
        if self.revision and not self.model:
            fix = "remove it, or write `model: REPO` beside it; a family pins its own revisions"
            raise InputError(f"`revision: {self.revision}` belongs to a Hub `model`, and there is none", fix=fix)
        return self

    def _refuse_other_start(self) -> None:
        if self.model:
            raise InputError("the recipe names both `model` and `scaffold`", fix="remove one of them")
        if self.start not in ("auto", "scaffold"):
            raise InputError(
                f"`start: {self.start}` is no empty model, and `scaffold` describes one",
                fix="write `start: scaffold`, or remove `scaffold`",
            )

    @model_validator(mode="after")
    def _phases_fill_the_run(self) -> Recipe:
        shares = [phase.length.value for phase in self.phases if phase.length.unit == "share"]
        if self.phases and len(shares) == len(self.phases) and abs(sum(shares) - 1) > 1e-6:
            raise InputError(f"the lengths of `phases` sum to {sum(shares):.0%}", fix="make them sum to 100 %")
        return self

    def seed_list(self) -> list[int]:
        """The seeds to train with, at least one."""
        return list(self.seeds) if isinstance(self.seeds, list) else [self.seed + k for k in range(self.seeds)]
