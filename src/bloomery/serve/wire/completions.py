"""`/v1/completions`: text or token ids in, what follows out."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bloomery.serve import limits
from bloomery.serve.wire.chat import Bias
from bloomery.serve.wire.request import (
    Absent,
    Sampled,
    StreamOptions,
    StructuredOutputs,
    Text,
    Tokens,
    Top,
    Usage,
    Whole,
    Wire,
)

Id = Annotated[int, Field(ge=0, lt=1 << 31)]
Ids = Annotated[list[Id], Field(min_length=1, max_length=1 << 18)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=limits.PROMPTS)]
Rows = Annotated[list[Ids], Field(min_length=1, max_length=limits.PROMPTS)]
Finish = Literal["stop", "length", "content_filter"]


class CompletionRequest(Sampled):
    """OpenAI's request body; special tokens in a text are plain characters, as ids they are themselves."""

    INERT: ClassVar[frozenset[str]] = frozenset({"user", "metadata"})

    prompt: Text | Texts | Ids | Rows
    max_tokens: Tokens | None = None
    n: Annotated[Whole, Field(ge=1, le=limits.ANSWERS)] | None = None
    best_of: Annotated[Whole, Field(ge=1, le=limits.ANSWERS)] | None = None
    stream_options: StreamOptions | None = None
    logprobs: Top | None = None
    logit_bias: Bias | None = None
    structured_outputs: StructuredOutputs | None = None
    """What the answer must be, as vLLM has it. Not OpenAI's."""
    echo: Literal[False] | None = None
    suffix: None = None


class TextLogprobs(Wire):
    """Log-probabilities of an answer's tokens, a list for each fact."""

    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] | None = None
    text_offset: list[int] = []

    def add(self, more: TextLogprobs) -> None:
        """Append those of what follows."""
        self.tokens += more.tokens
        self.token_logprobs += more.token_logprobs
        self.text_offset += more.text_offset
        if self.top_logprobs is not None:
            self.top_logprobs += more.top_logprobs or []


class TextChoice(Wire):
    """One answer, or what an event adds to it."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Finish | None = None


class Completion(Wire):
    """The response body, and each event of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | None = Absent


class EmbeddingRequest(Wire):
    """OpenAI's request body."""

    INERT: ClassVar[frozenset[str]] = frozenset({"user"})

    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Annotated[Text, Field(min_length=1)] | Texts | Ids | Rows
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[Whole, Field(ge=1, le=1 << 16)] | None = None
    user: Any = None


class Embedding(Wire):
    """One vector of length 1: numbers, or the base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Wire):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Wire):
    """The response body."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class ModelCard(Wire):
    """A model or an adapter that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["bloomery"] = "bloomery"
    parent: str | None = None


class ModelList(Wire):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
