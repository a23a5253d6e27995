"""What requests of all dialects have in common: strict types, unknown names refused, inert ones accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, model_validator

from bloomery.engine.protocol import MOST_TOP_LOGPROBS
from bloomery.serve import limits


def _whole(value: Any) -> Any:
    """5 for 5.0: JSON has one kind of number, and clients in R, Lua or JavaScript write either."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=limits.BODY)]
Form = Annotated[str, Field(min_length=1, max_length=limits.SCHEMA)]
Stop = Annotated[str, Field(min_length=1, max_length=limits.STOP_LENGTH)]
Stops = Stop | Annotated[list[Stop], Field(max_length=limits.STOPS)]
Top = Annotated[Whole, Field(ge=0, le=MOST_TOP_LOGPROBS)]
Tokens = Annotated[Whole, Field(ge=1, le=1 << 20)]
SEED = 9223372036854776000
"""Largest seed, as OpenAI publishes it: 2 ** 63 as a number of 64 bits rounds it."""
Absent: Any = Field(default=None, exclude_if=lambda value: value is None)
"""A field of an answer that is left out where it has no value; others say null, which clients rely on."""


class Wire(BaseModel):
    """Base of all shapes: an unknown name is refused, and "1" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    INERT: ClassVar[frozenset[str]] = frozenset()
    """Parameters of OpenAI's that change nothing here, and are accepted because clients send them."""

    def ignored(self) -> list[str]:
        """Inert parameters that this request sets."""
        return sorted(name for name in self.INERT & self.model_fields_set if getattr(self, name) is not None)


def told_by(tags: Mapping[str | None, str], otherwise: str) -> Discriminator:
    """Which shape of a union is meant, by its `type`, so that only that one's problems are told; `tags` name them.

    They begin with a capital, as what is no name of a parameter. `otherwise` is said of a type that is not among them.
    """

    def tag(given: Any) -> str | None:
        kind = given.get("type") if isinstance(given, dict) else getattr(given, "type", None)
        return tags.get(kind) if isinstance(kind, str | None) else None

    return Discriminator(tag, custom_error_type="no_such_type", custom_error_message=otherwise)


class OfFunctions(Wire):
    """A tool, a call of one, or the choice of one. Of OpenAI's kinds only functions are served."""

    @model_validator(mode="before")
    @classmethod
    def _no_custom(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("type") == "custom":
            raise ValueError(
                "tools of type `custom` are not served: offer a `function` with one text parameter, or hold the whole "
                "answer of /v1/chat/completions to a grammar by `structured_outputs`"
            )
        return given


class Sampled(Wire):
    """How tokens are chosen: OpenAI's parameters, and those that open servers added."""

    model: Name
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[Whole, Field(ge=0, le=1 << 20)] | None = None
    """Sample among so many most probable tokens; 0: all. Not OpenAI's."""
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Leave out tokens less probable than this part of the most probable. Not OpenAI's."""
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    """Not OpenAI's."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[Whole, Field(ge=-SEED, le=SEED)] | None = None
    stop: Stops | None = None
    stream: bool | None = None
    user: Any = None
    metadata: Any = None


class StructuredOutputs(Wire):
    """What the answer must be, in vLLM's words: exactly one of these."""

    schema_: dict[str, Any] | Text | None = Field(default=None, alias="json")
    """A JSON schema, or its text."""
    regex: Form | None = None
    """A regular expression that the whole answer matches."""
    choice: Annotated[list[Form], Field(min_length=1, max_length=limits.CHOICES)] | None = None
    """The answer is one of these texts."""
    grammar: Form | None = None
    """A grammar in Lark's syntax, or in that of GBNF."""

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        given = [value for _, value in self if value is not None]
        if len(given) != 1:
            raise ValueError("give one of `json`, `regex`, `choice` and `grammar`")
        return self


class StreamOptions(Wire):
    """What a stream also tells."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Usage(Wire):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt: int, completion: int) -> Usage:
        """The sum is worked out."""
        return cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
