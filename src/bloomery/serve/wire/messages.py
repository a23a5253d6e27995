"""`/v1/messages`, Anthropic's dialect: content is a list of blocks, calls and their results among them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bloomery.serve import limits
from bloomery.serve.wire.chat import FunctionName
from bloomery.serve.wire.request import Name, Stop, Text, Tokens, Wire


class TextBlock(Wire):
    """Text."""

    type: Literal["text"]
    text: Text
    cache_control: Any = None
    citations: Any = None


class ThinkingBlock(Wire):
    """Thinking that a client hands back: not read."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: Text | None = None
    signature: Text | None = None
    data: Text | None = None


class CallBlock(Wire):
    """A call that the model made earlier."""

    type: Literal["tool_use"]
    id: Name
    name: Name
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None


class ResultBlock(Wire):
    """What a function returned."""

    type: Literal["tool_result"]
    tool_use_id: Name
    content: Text | Annotated[list[TextBlock], Field(max_length=limits.MESSAGES)] | None = None
    is_error: bool | None = None
    cache_control: Any = None


Block = Annotated[TextBlock | ThinkingBlock | CallBlock | ResultBlock, Field(discriminator="type")]
Texts = Text | Annotated[list[TextBlock], Field(max_length=limits.MESSAGES)]


class MessageTurn(Wire):
    """A turn of the conversation."""

    role: Literal["user", "assistant"]
    content: Text | Annotated[list[Block], Field(max_length=limits.MESSAGES)]


class MessageTool(Wire):
    """A function offered to the model; `input_schema` is a JSON schema."""

    type: Literal["custom"] | None = None
    name: FunctionName
    description: Text | None = None
    input_schema: dict[str, Any]
    cache_control: Any = None
    strict: Any = None


class MessageChoice(Wire):
    """Whether a function is to be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: FunctionName | None = None
    disable_parallel_tool_use: bool | None = None


class MessageRequest(Wire):
    """Anthropic's request body, as far as a text model can honour it."""

    INERT: ClassVar[frozenset[str]] = frozenset(
        "metadata service_tier thinking cache_control context_management output_config inference_geo".split()
    )

    model: Name
    messages: Annotated[list[MessageTurn], Field(min_length=1, max_length=limits.MESSAGES)]
    max_tokens: Tokens
    system: Texts | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    stop_sequences: Annotated[list[Stop], Field(max_length=limits.STOPS)] | None = None
    stream: bool | None = None
    tools: Annotated[list[MessageTool], Field(max_length=limits.TOOLS)] | None = None
    tool_choice: MessageChoice | None = None
    metadata: Any = None
    service_tier: Any = None
    thinking: Any = None
    cache_control: Any = None
    context_management: Any = None
    output_config: Any = None
    inference_geo: Any = None


class SaidText(Wire):
    """Text of an answer."""

    type: Literal["text"] = "text"
    text: str


class SaidCall(Wire):
    """A call that the assistant asks for."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]


class MessageUsage(Wire):
    """Tokens read and written."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class MessageAnswer(Wire):
    """The response body."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[SaidText | SaidCall]
    stop_reason: Literal["end_turn", "max_tokens", "tool_use", "refusal"] | None
    stop_sequence: None = None
    usage: MessageUsage
