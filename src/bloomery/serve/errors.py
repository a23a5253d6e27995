"""What a client is told when it is refused: OpenAI's error object, without a path or an address of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bloomery.core.errors import InputError, nearest

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
MOST_SHOWN = 200
"""Characters of an input that an error repeats."""


class ErrorDetail(BaseModel):
    """Why a request was refused, and which parameter to change."""

    model_config = ConfigDict(extra="forbid")

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """OpenAI's error object; in Anthropic's dialect `type` says that it is one."""

    model_config = ConfigDict(extra="forbid")

    error: ErrorDetail
    type: Literal["error"] | None = Field(default=None, exclude_if=lambda value: value is None)


class Refusal(Exception):
    """A request that is not answered: HTTP status, what to say, and headers to say it with."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> ErrorBody:
        """The error object."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return ErrorBody(error=ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code))


def busy(why: str) -> Refusal:
    """429: too much at once; try again in a second."""
    return Refusal(
        429, f"the server is busy: {why}; try again", code="rate_limit_exceeded", headers={"retry-after": "1"}
    )


def refused(error: InputError, param: str | None = None, code: str | None = "invalid_value") -> Refusal:
    """400 of an error of ours; `where` it happened stays with us, since that may be a path."""
    fix = f"; {error.fix}" if error.fix else ""
    return Refusal(400, f"{error.message}{fix}", param=param, code=code)


def unfit(problems: Iterable[Mapping[str, Any]], fields: Iterable[str]) -> Refusal:
    """400 of what pydantic found in a request: the deepest problem, since it tried every type of a union."""
    found = list(problems)
    unknown = [problem for problem in found if problem["type"] == "extra_forbidden"]
    problem = max(unknown or found, key=_telling)
    path = [str(part) for part in problem["loc"] if part != "body" and not _names_a_type(part)]
    param = ".".join(path) or None
    if problem["type"] == "extra_forbidden":
        hint = nearest(path[-1], fields) if len(path) == 1 else ""
        hint = hint if "did you mean" in hint else ""
        return Refusal(400, f"unknown parameter `{_cut(param)}`{hint}", param=_cut(param), code="unknown_parameter")
    if problem["type"] == "missing":
        if param is None:
            return Refusal(400, "the request has no JSON body", code="missing_required_parameter")
        return Refusal(400, f"`{param}` is missing", param=param, code="missing_required_parameter")
    not_an_object = problem["type"] in ("model_attributes_type", "model_type", "dict_type") and param is None
    if problem["type"] == "json_invalid" or not_an_object:  # where JSON breaks off is a place, no parameter
        hint = "the body is no JSON object; send one with `Content-Type: application/json`"
        return Refusal(400, hint, code="invalid_json")
    message = problem["msg"].removeprefix("Value error, ")
    return Refusal(400, f"`{_cut(param)}`: {_cut(message)}", param=param, code="invalid_value")


def _telling(problem: Mapping[str, Any]) -> tuple[int, bool, bool]:
    """How much a problem tells: the deeper the more, being of another type of a union the least, our own words most."""
    path = [part for part in problem["loc"] if not _names_a_type(part)]
    return len(path), not problem["type"].endswith(("_type", "none_required")), problem["type"] == "value_error"


def _cut(text: Any) -> str:
    shown = str(text)
    return shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + "..."


def _names_a_type(part: Any) -> bool:
    """Parts of a location that say which type of a union was tried."""
    return isinstance(part, str) and (
        part in ("str", "int", "float", "bool", "none")
        or part.startswith(("constrained-", "literal", "list", "function-"))
        or "[" in part
        or part[:1].isupper()
    )
