"""Writes the table of recipe keys in docs/recipes.md from the schema: `python docs/make_keys.py`.

A test runs `updated` and compares, so the page cannot fall behind the code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bloomery.recipes.json_schema import recipe_schema

PAGE = Path(__file__).with_name("recipes.md")
BEGIN, END = "<!-- keys: written by docs/make_keys.py -->", "<!-- end of keys -->"
SECTIONS = {
    "Recipe": "The recipe itself",
    "ScaffoldSection": "`scaffold`",
    "Data": "`data`",
    "SharedSource": "A source, under `data.domain` and `data.curated`",
    "Signals": "`signals` of a source",
    "Curated": "`data.curated`",
    "Order": "`data.order`",
    "Phase": "An entry of `phases`",
    "ScheduleSection": "`schedule`",
    "OptimSection": "`optim`",
    "PreferenceSection": "`preference`",
    "RolloutSection": "`rollouts`",
    "ServerSection": "`rollouts.server`",
    "PushSection": "`rollouts.push`",
    "EnvironmentSection": "`rollouts.environment`",
    "Memory": "`memory`",
    "Keep": "`keep`",
    "EvalSection": "`eval`",
    "Lora": "`lora`",
    "Checkpoints": "`checkpoints`",
    "Step": "An entry of `steps`",
}
"""Section of the schema -> its heading, in the order of the page."""


def key_tables() -> str:
    """Every section of a recipe as a heading and a table: key, what it takes, its default, what it means."""
    schema = recipe_schema()
    sections = {"Recipe": schema, **{name: _mapping(section) for name, section in schema["$defs"].items()}}
    left_out = set(sections) - set(SECTIONS) - {"SourceSpec"}  # SharedSource is SourceSpec and `share`
    assert not left_out, f"sections without a heading: {left_out}"
    return "\n\n".join(f"### {heading}\n\n{_table(sections[name])}" for name, heading in SECTIONS.items())


def updated(page: str) -> str:
    """The page with the part between the marks written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{key_tables()}\n\n{END}{after}"


def _mapping(section: dict[str, Any]) -> dict[str, Any]:
    """A section's own form, where the schema also allows a shorter one."""
    return next((form for form in section.get("anyOf", []) if "properties" in form), section)


def _table(section: dict[str, Any]) -> str:
    needed = set(section.get("required", []))
    rows = [_row(key, field, key in needed) for key, field in section["properties"].items()]
    return "\n".join(["| Key | Takes | Default | |", "|---|---|---|---|", *rows])


def _row(key: str, field: dict[str, Any], needed: bool) -> str:
    default = "needed" if needed else _default(field.get("default"))
    takes = " or ".join(dict.fromkeys(_takes(field)))
    text = field.get("description", "").replace("|", "\\|")
    return f"| `{key}` | {takes} | {default} | {text} |"


def _default(value: Any) -> str:
    """A plain default; those of whole sections stand under their own keys, that of `steps` in its text."""
    plain = isinstance(value, str | int | float) or (isinstance(value, list) and value and not _sections(value))
    return f"`{json.dumps(value)}`".replace('"', "") if plain else ""


def _sections(value: list[Any]) -> bool:
    return any(isinstance(item, dict) for item in value)


def _takes(field: dict[str, Any]) -> Iterator[str]:
    """What may be written, as words: choices, examples, or the type."""
    if "$ref" in field:
        yield "mapping"
    elif "examples" in field:
        yield ", ".join(f"`{example}`" for example in field["examples"])
    elif "const" in field or "enum" in field:
        yield ", ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    elif "anyOf" in field:
        for form in field["anyOf"]:
            if form.get("type") != "null":
                yield from _takes(form)
    elif field.get("type") == "array":
        inner = list(_takes(field["items"])) if "items" in field else ["two numbers"]
        plural = {"mapping": "mappings", "text": "texts", "whole number": "whole numbers"}
        yield "list of " + " or ".join(plural.get(word, word) for word in inner)
    else:
        yield {"string": "text", "integer": "whole number", "boolean": "`true`, `false`", "object": "mapping"}.get(
            field.get("type", ""), field.get("type", "mapping")
        )


if __name__ == "__main__":
    text = updated(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
