"""How a user's reward function wants to be called, and what TRL's signature is given."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from bloomery.graders.payload import Sample


def of(source: str, function: str) -> str:
    """`trl` for `f(prompts, completions, ...)` or `f(completions, ...)`, `openai` for `f(sample, item)`, else ours.

    Read from the text, since importing it would run it; a function made in another way is ours.
    """
    found = _defined(source, function)
    told = found.args if found else None
    names = [argument.arg for argument in (*told.posonlyargs, *told.args, *told.kwonlyargs)] if told else []
    if "completions" in names:
        return "trl"
    return "openai" if names[:2] == ["sample", "item"] else "bloomery"


def missing(source: str, function: str, given: Mapping[str, Any]) -> str:
    """The first parameter without a default that is not among the columns `given`; empty where there is none."""
    found = _defined(source, function)
    if found is None or found.decorator_list:  # which may change what it asks for
        return ""
    told = found.args
    plain = [*told.posonlyargs, *told.args]
    needed = plain[: len(plain) - len(told.defaults)]
    needed += [one for one, default in zip(told.kwonlyargs, told.kw_defaults, strict=True) if default is None]
    return next((one.arg for one in needed if one.arg not in given), "")


def _defined(source: str, function: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """A function of the text; None where the text does not define it by `def`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None  # the call will say what is wrong
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            return node
    return None


def columns(samples: Sequence[Sample]) -> dict[str, Any]:
    """Keyword arguments of TRL's reward functions: prompts and completions as messages, and the rows' other columns.

    A column that some rows lack holds None there.
    """
    names = dict.fromkeys(name for sample in samples for name in sample.metadata)
    found: dict[str, Any] = {name: [sample.metadata.get(name) for sample in samples] for name in names}
    return found | {
        "prompts": [[dict(message) for message in sample.messages[:-1]] for sample in samples],
        "completions": [[dict(message) for message in sample.messages[-1:]] for sample in samples],
        "reference_answer": [sample.reference_answer for sample in samples],
    }
