"""The other side of `template.py`, run in a limited process: jinja's sandbox, as transformers sets it up.

Imports jinja2 and the standard library only: it is loaded by path in an interpreter without this package.
"""

from __future__ import annotations

import json
import signal
from datetime import datetime
from typing import Any

import jinja2  # here, so that importing it counts as starting the process, not as rendering

SECONDS = 1.0
"""Processor time that one rendering may take; a busy machine must not make a good template a bad one."""

REFUSAL = "template: "
"""Starts the error of a template that refused its input, as opposed to one that ran away."""


def render(item: dict[str, Any]) -> dict[str, str]:
    """{"text": ...} or {"error": ...} of {"template", "messages", "variables"}."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)  # ends the process, whatever it is in the middle of
    try:
        compiled = _environment().from_string(item["template"])
        return {"text": compiled.render(messages=item["messages"], **item["variables"])}
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        return {"error": f"{REFUSAL}{type(error).__name__}: {str(error)[:200]}"}
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _environment() -> Any:
    """Trimmed blocks, loop controls, `{% generation %}` as a plain block, tojson without HTML escapes."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = lambda value, indent=None, **_: json.dumps(value, ensure_ascii=False, indent=indent)
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made
