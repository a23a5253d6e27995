"""The sections of a recipe: data, schedule, optimiser, memory, evaluation and the rest.

A field left at None is derived by `resolve.py`; the text under a field is its description in the
JSON Schema that `bloomery schema` prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bloomery.core.errors import InputError
from bloomery.data.config import SourceSpec
from bloomery.recipes.fields import Amount, Piece, Section, Share, Size, Tokens


class SharedSource(SourceSpec):
    """A source of rows; `share` fixes its part of the group that it belongs to."""

    share: Share | None = None
    """Its part of the domain (or curated) tokens. Left out: in proportion to how many tokens it has."""


def as_sources(value: Any) -> Any:
    """'a.jsonl' or a list of files and mappings, as a list of mappings."""
    entries = value if isinstance(value, list) else [] if value is None else [value]
    return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]


def absolute(spec: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A copy whose file paths do not depend on the working folder; `s3://` and the like stay as they are."""
    path = spec.get("path")
    if path is None:
        return dict(spec)
    paths = [path] if isinstance(path, str) else path
    whole = [p if "://" in p else str(base / Path(p).expanduser()) for p in paths]
    return {**spec, "path": whole[0] if isinstance(path, str) else whole}


def whole_grader(spec: Mapping[str, Any], base: Path, trusted: bool) -> dict[str, Any]:
    """A grader that means the same anywhere: the path of its code in full, and whether that code may run."""
    whole = absolute(spec, base)
    return whole | {"trusted": trusted} if spec.get("type") == "python" else whole


class Curated(Section):
    """Which curated data is mixed in: the family's mix for the stage, categories of it, or sources of your own."""

    mix: str = "auto"
    """`auto` (the family's mix for the stage), `none`, or the name of one of the family's mixes."""
    categories: dict[str, Share] | None = None
    """The categories of the mix with their parts, which sum to 100 %; a category left out gets nothing."""
    sources: list[SharedSource] | None = None
    """Your own general data in place of the family's."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"mix": value}
        if isinstance(value, list):
            return {"sources": as_sources(value)}
        if isinstance(value, dict) and value and not set(value) & set(cls.model_fields):
            return {"categories": value}
        return value

    @field_validator("categories")
    @classmethod
    def _sum_to_one(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and abs(sum(value.values()) - 1) > 1e-6:
            raise InputError(
                f"the categories under `data.curated` sum to {sum(value.values()):.4g}, not 1",
                fix="make them sum to 100 %; they divide what `data.share` leaves to curated data",
            )
        return value


class Data(Section):
    """What the model is trained on."""

    domain: list[SharedSource] = []
    """Your data: files, globs, generated sources or Hub data sets."""
    share: Share | None = None
    """Domain tokens over all tokens, masked ones too; the rest is curated data. Default 50 % (Nova Forge's sample)."""
    curated: Curated = Curated()
    """What is blended in so that nothing is forgotten."""
    order: Literal["shuffle"] = "shuffle"
    """Each source is read in its own seeded permutation, a new one each epoch."""
    holdout: Share | None = None
    """Domain documents kept out of training, when `eval.domain` is not given. Default 2 %, at least 200 if there are
    that many."""
    overlong: Literal["split", "drop", "truncate"] | None = None
    """What happens to rows longer than the context, in sources that do not say it themselves. Default: text is split,
    conversations are dropped, because half an answer teaches to stop half-way."""
    repetition_cap: float = Field(default=4.0, gt=0)
    """Most epochs over one source; beyond about four, repeating stops helping (Muennighoff, arXiv 2305.16264)."""
    context: int | None = Field(default=None, ge=8)
    """Longest row in tokens. Default: the checkpoint's own context, at most 8,192."""

    @field_validator("domain", mode="before")
    @classmethod
    def _domain_list(cls, value: Any) -> Any:
        return as_sources(value)


class Phase(Section):
    """A part of the run with a blend of its own; best data last."""

    name: str
    """What the plan and the report call it."""
    length: Piece
    """Its part of the run's steps; all phases together make up the whole run."""
    share: Share | None = None
    """Domain share in this phase. Default: `data.share`."""
    curated: dict[str, Share] | None = None
    """Categories of curated data in this phase, summing to 100 %. Default: as in `data.curated`."""


class ScheduleSection(Section):
    """Learning rate over the run; what is left out continues from the checkpoint."""

    kind: Literal["constant", "linear", "cosine", "wsd"] | None = None
    """`wsd`: hold, then anneal. Default: wsd from hot checkpoints, linear to zero from warm and cold ones."""
    lr: float | None = Field(default=None, gt=0)
    """The rate that is held, or decayed from. Default: from the checkpoint's own rate."""
    warmup: Piece | None = None
    """Default: none from hot and warm checkpoints, 1 % of the steps from cold ones."""
    anneal: Piece | None = None
    """The last part of a `wsd` run, in which the rate decays. Default 20 %."""
    anneal_by: Literal["decay", "merge"] | None = None
    """`merge`: hold the rate to the end, and average the weights over the anneal instead. Default: decay."""
    shape: Literal["linear", "1-sqrt", "cosine"] | None = None
    """Shape of the anneal. Default 1-sqrt."""
    final: float | None = Field(default=None, ge=0)
    """The rate at the end of the decay, absolute. Default 0."""

    @model_validator(mode="after")
    def _merge_of_a_held_rate(self) -> ScheduleSection:
        if self.anneal_by != "merge":
            return self
        if self.kind not in (None, "wsd"):
            raise InputError(
                f"`anneal_by: merge` averages the weights of a held rate, and `kind: {self.kind}` does not hold it",
                fix="remove `kind`, or set it to wsd",
            )
        if self.shape is not None or self.final is not None:
            key = "final" if self.shape is None else "shape"
            raise InputError(
                f"`{key}` says how the rate falls, and with `anneal_by: merge` it does not", fix=f"remove `{key}`"
            )
        return self


Momentum = Annotated[float, Field(ge=0, lt=1)]


class OptimSection(Section):
    """AdamW and what surrounds it."""

    betas: tuple[Momentum, Momentum] = (0.9, 0.95)
    """AdamW's momenta (OLMo 2, SmolLM3)."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's epsilon (OLMo 2)."""
    weight_decay: float = Field(default=0.1, ge=0)
    """On matrices only; vectors and embeddings do not decay (OLMo 2, SmolLM3)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm."""
    z_loss: float | None = Field(default=None, ge=0)
    """Weight of the squared log-partition. Default 1e-5, 1e-4 when the rate falls more than tenfold (Marin)."""
    batch: Tokens | None = None
    """Tokens in one optimiser step. Default: the checkpoint's own batch, less when the budget is small."""


class PreferenceSection(Section):
    """What is made of preferences; used with the objectives dpo, ipo, kto and orpo."""

    beta: float = Field(default=0.1, gt=0)
    """How closely the model stays with its start: higher is closer (DPO, arXiv 2305.18290; IPO's tau, 2310.12036; KTO,
    2402.01306). ORPO, which knows no start: the weight of its odds ratio, lambda (2403.07691)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """DPO: the part of the pairs that is taken to be labelled the wrong way round (arXiv 2403.00409)."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """KTO: weight of desirable answers. With unequal counts, choose it so that weight times count is 1 to 4/3 of the
    other side's (arXiv 2402.01306, equation 8)."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """KTO: weight of undesirable answers."""
    replay_weight: float = Field(default=1.0, ge=0)
    """Weight of cross-entropy on all other rows beside that of preferences; with ORPO on the chosen answers too. Each
    of the two is a mean over its own rows."""


class Memory(Section):
    """What has to fit. `memory: auto` picks what fits and says so."""

    limit: Size | None = None
    """Most memory the run may plan with: the fastest setting within it is taken, and a run whose smallest step does not
    fit is refused. Default: 90 % of what the device has free."""
    micro_tokens: Tokens | None = None
    """Most tokens in one forward pass."""
    activation_checkpointing: bool | None = None
    """Recompute activations in the backward pass: about a third more time, far less memory."""
    state: Literal["fp32", "bf16"] | None = None
    """Type of the optimiser's two moments."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Type of the arithmetic; weights are kept in fp32 beside it. Auto: bf16 where the hardware multiplies it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it trains. Auto: a GPU where there is one."""

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, value: Any) -> Any:
        return {} if value == "auto" else value


class Keep(Section):
    """The forgetting budget; it gates the exit status."""

    general: Share | None = None
    """Largest rise in bits per byte on the family's general text, relative to the start checkpoint."""


class EvalSection(Section):
    """What the model is judged by, beside the start checkpoint in the same run."""

    domain: list[SourceSpec] | None = None
    """Held-out domain rows. Default: `data.holdout` of the domain data."""
    grader: dict[str, Any] | None = None
    """How answers to held-out pairs and conversations are graded, such as `{type: exact}`. Default: they are not."""
    every: Amount | None = None
    """How often the loss on held-out rows is measured during training, beside every checkpoint. Default: eight times in
    the run."""
    suites: list[str] | Literal["auto", "none"] = "auto"
    """Names of the family's suites. Auto: all that suit the stage."""

    @field_validator("domain", mode="before")
    @classmethod
    def _domain_list(cls, value: Any) -> Any:
        return None if value is None else as_sources(value)

    @model_validator(mode="before")
    @classmethod
    def _file(cls, value: Any) -> Any:
        return {"domain": value} if isinstance(value, str | list) else value


class Lora(Section):
    """Low-rank adapters; used with `method: lora`."""

    rank: int | None = Field(default=None, ge=1)
    """Default 256, at most half the hidden width (Biderman et al., arXiv 2405.09673: full rank is 10-100 x more)."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale of the update. Default: twice the rank."""
    target: Literal["all-linear", "attention"] = "all-linear"
    """Which matrices get an adapter (all-linear: arXiv 2405.09673)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""


class Checkpoints(Section):
    """When the run saves itself."""

    every: Amount | None = None
    """Default: eight times in the run, at least every 200 steps."""
    keep: int = Field(default=2, ge=1)
    """How many of the newest are kept beside the best one."""


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
