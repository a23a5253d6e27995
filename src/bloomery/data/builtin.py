"""Sources that Bloomery generates itself, by name; recipes and family files write `builtin: skills`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from bloomery.core.errors import InputError, nearest

BUILTINS = {
    "documentation": "bloomery.data.curated.documentation:generate",
    "skills": "bloomery.data.curated.skills.stream:generate",
    "chat": "bloomery.data.curated.chat:generate",
    "safety": "bloomery.data.curated.safety:generate",
    "workflow-manual": "bloomery.data.curated.workflow.data:manual",
    "workflow-pairs": "bloomery.data.curated.workflow.data:pairs",
    "bias": "bloomery.data.curated.responsible.bias:generate",
    "truth": "bloomery.data.curated.responsible.truth:generate",
    "toxic-prompts": "bloomery.data.curated.responsible.toxic:generate",
    "injection": "bloomery.data.curated.responsible.injection:generate",
    "canaries": "bloomery.data.curated.responsible.canaries:generate",
}
"""Name -> `module:function`; a function takes the source's options and yields plain rows."""

READ_INSTALLED = frozenset({"documentation", "chat"})
"""Generated sources made of installed packages' documentation; the others follow from their options alone."""

GRADERS: dict[str, dict[str, Any]] = {"workflow-pairs": {"type": "workflow"}, "skills": {"type": "curated"}}
"""Generated sources whose held-out rows can be graded -> spec of the grader."""


def generate(name: str, options: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the generated source `name`; equal options give equal rows on every machine.

    Rows are `{"id", "text"}`, `{"id", "messages"}` or `{"id", "skill", "prompt", "response",
    "reference_answer", "metadata"}`. Raises `InputError` for an unknown name or option.
    """
    if name not in BUILTINS:
        raise InputError(f"`builtin: {name}` is no generated source{nearest(name, BUILTINS)}", fix="change `builtin`")
    module, function = BUILTINS[name].split(":")
    produce = getattr(importlib.import_module(module), function)
    known = produce.__code__.co_varnames[: produce.__code__.co_argcount + produce.__code__.co_kwonlyargcount]
    for option in options or {}:
        if option not in known:
            raise InputError(
                f"`builtin: {name}` has no option `{option}`{nearest(option, known)}", fix="change `options`"
            )
    rows: Iterator[dict[str, Any]] = produce(**(options or {}))
    return rows
