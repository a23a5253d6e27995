"""`/v1/chat/completions`: messages in, one message or several out."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, Tag

from bloomery.serve import limits
from bloomery.serve.wire.request import (
    Absent,
    Name,
    OfFunctions,
    Sampled,
    StreamOptions,
    StructuredOutputs,
    Text,
    Tokens,
    Top,
    Usage,
    Whole,
    Wire,
    told_by,
)

Bias = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=limits.BIASES)]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Finish = Literal["stop", "length", "content_filter", "tool_calls"]


class Part(Wire):
    """A part of a message's content: text only; images, audio and files are refused by name."""

    type: Literal["text", "refusal"]
    text: Text | None = None
    refusal: Text | None = None


class CalledFunction(Wire):
    """A function and its arguments as JSON text."""

    name: Name
    arguments: Text


class ToolCall(OfFunctions):
    """A call that the assistant asks for."""

    id: Name
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Absent


class Message(Wire):
    """A turn of the conversation. Clients hand back what they were given, so fields of answers are accepted."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[Part], Field(max_length=limits.MESSAGES)] | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=limits.TOOLS)] | None = None
    tool_call_id: Name | None = None
    refusal: Text | None = None
    reasoning_content: Text | None = None
    annotations: Any = None
    audio: None = None
    function_call: None = None


class Function(Wire):
    """What the model may call; `parameters` is a JSON schema."""

    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(OfFunctions):
    """A function offered to the model."""

    type: Literal["function"]
    function: Function


class NamedFunction(Wire):
    """One function by name."""

    name: FunctionName


class NamedTool(OfFunctions):
    """The function that must be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Wire):
    """The schema an answer must satisfy."""

    name: FunctionName
    description: Text | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class PlainFormat(Wire):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Wire):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


Format = Annotated[
    Annotated[PlainFormat, Tag("Plain")] | Annotated[SchemaFormat, Tag("Schema")],
    told_by(
        {"text": "Plain", "json_object": "Plain", "json_schema": "Schema"},
        "`type` is one of text, json_object and json_schema, which has the schema in `json_schema: {name, schema}`",
    ),
]


class ChatRequest(Sampled):
    """OpenAI's request body, as far as a text model can honour it."""

    INERT: ClassVar[frozenset[str]] = frozenset(
        "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention prediction "
        "reasoning_effort verbosity modalities".split()
    )

    messages: Annotated[list[Message], Field(min_length=1, max_length=limits.MESSAGES)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[Whole, Field(ge=1, le=limits.ANSWERS)] | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Top | None = None
    logit_bias: Bias | None = None
    response_format: Format | None = None
    structured_outputs: StructuredOutputs | None = None
    """What the answer must be, as vLLM has it. Not OpenAI's."""
    tools: Annotated[list[Tool], Field(max_length=limits.TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None


class TopLogprob(Wire):
    """A token that might have stood there."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """A token of the answer."""

    top_logprobs: list[TopLogprob] = []


class Logprobs(Wire):
    """Log-probabilities of an answer's tokens."""

    content: list[TokenLogprob] | None = None
    refusal: None = None


class AnswerMessage(Wire):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = Absent


class Choice(Wire):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None = None
    finish_reason: Finish


class ChatCompletion(Wire):
    """The response body."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class DeltaMessage(Wire):
    """What a chunk adds to a message."""

    role: Literal["assistant"] | None = Absent
    content: str | None = Absent
    tool_calls: list[ToolCall] | None = Absent


class ChunkChoice(Wire):
    """What a chunk adds to one answer."""

    index: int
    delta: DeltaMessage
    logprobs: Logprobs | None = None
    finish_reason: Finish | None = None


class ChatChunk(Wire):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | None = Absent
