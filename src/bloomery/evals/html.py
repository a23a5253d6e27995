"""HTML and SVG built as elements: every text is escaped, because only elements made here are markup."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0\ufdd1\ufffe\uffff]")
_EMPTY = frozenset({"meta", "br", "circle", "line", "rect", "path", "polyline", "col"})


class Markup(str):
    """A string that is markup already."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[Child] | None"


def el(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """`<name ...>children</name>`; `class_` is `class`, other underscores are hyphens, None is left out."""
    written = "".join(
        f" {_attribute(key)}" + ("" if value is True else f'="{_escaped(_text(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inner = "".join(_render(child) for child in children)
    return Markup(f"<{name}{written}/>" if name in _EMPTY and not inner else f"<{name}{written}>{inner}</{name}>")


def svg(width: float, height: float, label: str, *children: Child, class_: str = "") -> Markup:
    """A drawing with a text alternative; it scales down, never up."""
    return el(
        "svg", *children, class_=class_ or None, viewBox=f"0 0 {width:g} {height:g}", width=width, height=height,
        role="img", aria_label=label,
    )  # fmt: skip


def _escaped(text: str) -> str:
    """Text without meaning to a parser; control characters, which no page may hold, become U+FFFD."""
    return escape(_CONTROL.sub("\ufffd", text))


def _attribute(key: str) -> str:
    return key.rstrip("_") if key.endswith("_") else key.replace("_", "-")


def _text(value: str | float | bool | None) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return _escaped(child)
    return "".join(_render(item) for item in child)
