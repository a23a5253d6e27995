"""How a user's reward function wants to be called, and what TRL's signature is given."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from bloomery.graders.payload import Sample


def of(source: str, function: str) -> str:
    """`trl` for `f(prompts, completions, ...)` or `f(completions, ...)`, `openai` for `f(sample, item)`, else ours.

    Read from the text, since importing it would run it; a function made in another way is ours.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return "bloomery"  # the call will say what is wrong
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if "completions" in names:
                return "trl"
            return "openai" if names[:2] == ["sample", "item"] else "bloomery"
    return "bloomery"


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
