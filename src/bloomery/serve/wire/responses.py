"""`/v1/responses`: items in, items out. Nothing is kept between requests: the client sends the whole conversation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, Tag

from bloomery.serve import limits
from bloomery.serve.wire.chat import FunctionName, TokenLogprob
from bloomery.serve.wire.request import Name, OfFunctions, Text, Tokens, Top, Wire, told_by


class InputPart(Wire):
    """A part of a message: text, or what an earlier answer refused."""

    type: Literal["input_text", "output_text", "text", "refusal"]
    text: Text | None = None
    refusal: Text | None = None
    annotations: Any = None
    logprobs: Any = None


class InputMessage(Wire):
    """A turn; `id` and `status` come with answers that are handed back."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[InputPart], Field(max_length=limits.MESSAGES)]
    id: Name | None = None
    status: Any = None
    phase: Any = None


class InputCall(Wire):
    """A call that the model made earlier."""

    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: Text
    id: Name | None = None
    status: Any = None


class InputResult(Wire):
    """What the function returned."""

    type: Literal["function_call_output"]
    call_id: Name
    output: Text | Annotated[list[InputPart], Field(max_length=limits.MESSAGES)]
    id: Name | None = None
    status: Any = None


class ResponseTool(OfFunctions):
    """A function offered to the model."""

    type: Literal["function"]
    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseChoice(OfFunctions):
    """The function that must be called."""

    type: Literal["function"]
    name: FunctionName


class TextFormat(Wire):
    """What the answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    name: FunctionName | None = None
    description: Text | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextOptions(Wire):
    """Options of the text."""

    format: TextFormat | None = None
    verbosity: Any = None


Item = Annotated[
    Annotated[InputMessage, Tag("Message")] | Annotated[InputCall, Tag("Call")] | Annotated[InputResult, Tag("Result")],
    told_by(
        {None: "Message", "message": "Message", "function_call": "Call", "function_call_output": "Result"},
        "the item's `type` is not served: it may be message, function_call or function_call_output. Calls of tools of "
        "type `custom` and of OpenAI's own tools cannot be read, nor items that another server keeps",
    ),
]
Items = Annotated[list[Item], Field(min_length=1, max_length=limits.MESSAGES)]


def _nothing_kept(given: Any) -> Any:
    if given is not None:
        raise ValueError("nothing is kept between requests: send the whole conversation as `input`")
    return given


Kept = Annotated[None, BeforeValidator(_nothing_kept)]
"""What names a conversation that the server would have kept."""


class ResponseRequest(Wire):
    """OpenAI's request body, as far as a stateless text server can honour it."""

    INERT: ClassVar[frozenset[str]] = frozenset(
        "user metadata store include reasoning service_tier safety_identifier prompt_cache_key prompt_cache_retention "
        "stream_options".split()
    )

    model: Name
    input: Annotated[Text, Field(min_length=1)] | Items
    instructions: Text | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Top | None = None
    stream: bool | None = None
    text: TextOptions | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=limits.TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseChoice | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    previous_response_id: Kept = None
    conversation: Kept = None
    include: Any = None
    metadata: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    reasoning: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    stream_options: Any = None
    user: Any = None


class OutputText(Wire):
    """A piece of an answer."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    logprobs: list[TokenLogprob] = []


class OutputMessage(Wire):
    """What the assistant says."""

    type: Literal["message"] = "message"
    id: str
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    content: list[OutputText]


class OutputCall(Wire):
    """A call that the assistant asks for."""

    type: Literal["function_call"] = "function_call"
    id: str
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed"] = "completed"


class ResponseError(Wire):
    """Why a response failed."""

    code: str
    message: str


class Incomplete(Wire):
    """Why a response ended early."""

    reason: Literal["max_output_tokens", "content_filter"]


class InputDetails(Wire):
    """Of the tokens read."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(Wire):
    """Of the tokens written."""

    reasoning_tokens: int = 0


class ResponseUsage(Wire):
    """Tokens read and written."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class ResponseObject(Wire):
    """The response body."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[OutputMessage | OutputCall]
    error: ResponseError | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    store: Literal[False] = False
    temperature: float | None = None
    text: TextOptions = TextOptions(format=TextFormat(type="text"))
    tool_choice: Literal["none", "auto", "required"] | ResponseChoice = "auto"
    tools: list[ResponseTool] = []
    top_p: float | None = None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
