"""A suite as files describe it: rows, how they are asked and scored, and what the score stands for in a report."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bloomery.core.errors import InputError

Role = Literal[
    "domain",
    "general",
    "skills",
    "instruction",
    "refusal",
    "over_refusal",
    "bias",
    "toxicity",
    "truthfulness",
    "injection",
    "privacy",
]
Kind = Literal[
    "bpb",
    "choice",
    "generate",
    "truth",
    "toxicity",
    "injection",
    "extraction",
    "exposure",
    "rubric",
    "pairwise",
    "environment",
    "lm_eval",
    "inspect",
]
GRADED = ("generate", "toxicity", "rubric", "pairwise")
"""Kinds whose answers a grader scores; of `generate` metrics alone may do without one."""
OUTSIDE = ("lm_eval", "inspect")
"""Kinds whose rows and scores are another package's."""


class Suite(BaseModel):
    """Evaluation rows, how they are scored, and what they stand for in the report."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    name: str
    role: Role
    kind: Kind
    path: str | None = None
    """Rows beside the file."""
    rows: list[dict[str, Any]] | None = None
    """Rows in the file itself."""
    builtin: str | None = None
    options: dict[str, Any] = {}
    hf: str | None = None
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    columns: dict[str, str] = {}
    """Key that evaluation reads -> the row's key that has it, such as `{reference_answer: gold}`."""
    prompt: str | None = None
    """The question as a template over the row's keys: `"Q: {{ question }}"`. Default: the row's own `prompt`."""
    render: Literal["auto", "chat", "plain"] = "auto"
    """`plain` shows the prompt and a line end; `auto` uses the chat template where the tokenizer has one."""
    grader: dict[str, Any] | None = None
    """How responses are scored."""
    metrics: list[str | dict[str, Any]] | None = None
    """Further figures: `pass@5`, `f1`, `bleu`, or `{type: python, path, function}`. Default: those of the kind."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Answers drawn to each row."""
    temperature: float = Field(default=0.0, ge=0)
    stop: list[str] = []
    """Texts that end an answer, beside the model's own end tokens."""
    limit: int | None = Field(default=None, ge=1)
    """Most rows used."""
    stages: list[Literal["pre", "mid", "post"]] = ["pre", "mid", "post"]
    """Kinds of model that it is run on."""
    max_new_tokens: int = Field(default=128, ge=1)
    tasks: list[str] = []
    """Names of lm-eval or Inspect tasks."""
    include: str | None = None
    """Folder of task files, for `lm_eval`."""
    environment: dict[str, Any] | None = None
    """For `kind: environment`: what `rollouts.environment` of a recipe says."""
    trusted: bool = False
    """The tasks are Python code, run with your rights: say that you know."""

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        origins = [one for one in (self.builtin, self.path, self.hf, self.rows) if one is not None]
        if self.kind in OUTSIDE:
            if origins or not self.tasks:
                raise InputError(f"the suite `{self.name}`: `kind: {self.kind}` has `tasks`, and no rows of its own")
            return self
        if len(origins) != 1:
            raise InputError(f"the suite `{self.name}` must have one of `builtin`, `path`, `hf` and `rows`")
        if self.tasks or self.include:
            raise InputError(f"the suite `{self.name}`: `tasks` and `include` belong to `kind: lm_eval` or `inspect`")
        if (self.environment is None) == (self.kind == "environment"):
            belongs = "belongs to `kind: environment`, and is needed there"
            raise InputError(f"the suite `{self.name}`: `environment` {belongs}", fix="add or remove `environment`")
        needed = self.kind in GRADED and not (self.kind == "generate" and self.metrics)
        if (self.grader is None and needed) or (self.grader is not None and self.kind not in (*GRADED, "environment")):
            belongs = "belongs to `kind: generate` and its like, and is needed there"
            raise InputError(f"the suite `{self.name}`: `grader` {belongs}", fix="add or remove `grader`")
        return self
