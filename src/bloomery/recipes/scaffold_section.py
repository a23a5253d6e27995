"""What a recipe says about an empty model; a field left at None is derived by `families/scaffold.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from bloomery.core.errors import InputError
from bloomery.core.quantity import parse_budget
from bloomery.families.scaffold import DEEPEST
from bloomery.recipes.fields import Section


def _count(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    try:
        return round(parse_budget(f"{value} tokens").value)
    except InputError:
        key = info.field_name
        raise InputError(f"`{key}: {value}` is no number of {key}", fix="write one such as `100M`") from None


Parameters = Annotated[
    int, PlainValidator(_count), WithJsonSchema({"type": ["string", "integer"], "examples": ["100M", 100_000_000]})
]
"""A number of weights: `100M`, or all its digits."""


class ScaffoldSection(Section):
    """An empty model from one dial, `depth` or `parameters`; `explain` shows what follows from it, and why."""

    shape: Literal["llama", "qwen3", "olmo3"] = "llama"
    """Architecture: Llama's; with norms of queries and keys (Qwen3); with windows and norms behind layers (Olmo 3)."""
    depth: int | None = Field(default=None, ge=1, le=DEEPEST)
    """Layers."""
    parameters: Parameters | None = None
    """In place of `depth`: about how many weights, embeddings included; the nearest depth is taken."""
    tokenizer: str | None = None
    """Folder of a tokenizer, such as `bloomery tokenizer` writes. Default: that of `family`, else ember's."""

    @model_validator(mode="after")
    def _one_dial(self) -> ScaffoldSection:
        if (self.depth is None) == (self.parameters is None):
            what = "neither `depth` nor `parameters`" if self.depth is None else "both `depth` and `parameters`"
            raise InputError(f"`scaffold` has {what}, and it is one dial", fix="set one of the two")
        return self
