"""The other side of `template.py`: compiles one chat template in jinja's sandbox, then renders what it is sent.

Run by path in an isolated interpreter, so it imports jinja2 and the standard library only. One JSON value a line: the
template and its variables first, then lists of conversations; each is answered by one line. A conversation that takes
too long or too much memory ends the process.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any

import jinja2  # here, so that importing it counts as starting the process, not as rendering

SECONDS = 1.0
"""Processor time that one rendering may take; a busy machine must not make a good template a bad one."""
MEMORY = 256 << 20
"""Bytes of address space of the whole process."""
START, END = "\ufdd0", "\ufdd1"
"""Unicode noncharacters, never part of real text: they stand around what a `generation` block renders."""
REFUSALS = (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What a template raises at a conversation it was not made for."""


def main() -> None:
    """Answer standard input, line by line, until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    job = json.loads(sys.stdin.readline())
    try:
        template = _limited(lambda: _environment().from_string(job["source"]))
    except REFUSALS as error:
        print(json.dumps({"broken": str(error)[:200]}), flush=True)
        return
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        print(json.dumps([_answer(template, job["special"], item) for item in json.loads(line)]), flush=True)


def _answer(template: Any, special: dict[str, str], item: dict[str, Any]) -> dict[str, Any]:
    """{"text", "starts"} or {"error"} of {"messages", "tools", "prompt", "before"}, as `Conversation` has them."""

    def render(messages: list[Any], prompt: bool) -> str:
        names = special | {"messages": messages, "tools": item["tools"] or None, "add_generation_prompt": prompt}
        return str(_limited(lambda: template.render(**names)))

    try:
        text = render(item["messages"], item["prompt"])
        before = [] if START in text else [render(item["messages"][:number], True) for number in item["before"]]
        return {"text": text, "starts": [len(part) if text.startswith(part) else -1 for part in before]}
    except REFUSALS as error:
        return {"error": str(error)[:200] or type(error).__name__}


def _limited(work: Any) -> Any:
    """`work()`; once it has taken `SECONDS` of processor time this process ends, whatever it is in the middle of."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _environment() -> Any:
    """As transformers sets it up: trimmed blocks, loop controls, tojson without HTML escapes; generation is marked."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Any) -> str:
            return f"{START}{caller()}{END}"

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = lambda value, ensure_ascii=False, indent=None, **_: json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent
    )
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


if __name__ == "__main__":
    main()
