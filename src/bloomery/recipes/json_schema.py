"""JSON Schema of recipes, for editors and other programs; descriptions are the texts under the fields."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import ModuleType
from typing import Any

from bloomery.data import config
from bloomery.recipes import data_section, proof_sections, scaffold_section, schema, server_section, train_sections
from bloomery.recipes.schema import Recipe


def recipe_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a recipe, with the short forms that the loader accepts."""
    found = Recipe.model_json_schema()
    _describe(found, "Recipe")
    for name, section in found.get("$defs", {}).items():
        _describe(section, name)
        _allow_short_form(section, name)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


SHORT_FORMS: dict[str, dict[str, Any]] = {
    "Memory": {"const": "auto"},
    "Order": {"const": "shuffle"},
    "Curated": {"anyOf": [{"type": "string"}, {"type": "array"}, {"type": "object"}]},
    "SharedSource": {"type": "string"},
    "SourceSpec": {"type": "string"},
    "EvalSection": {"type": ["string", "array"]},
    "Step": {"enum": ["train", "evaluate", "export"]},
}
"""What a section may be written as instead of a mapping."""


def _allow_short_form(section: dict[str, Any], name: str) -> None:
    if name in SHORT_FORMS:
        whole = dict(section)
        section.clear()
        section |= {"anyOf": [SHORT_FORMS[name], whole], "description": whole.pop("description", "")}


def _describe(section: dict[str, Any], name: str) -> None:
    texts = _field_texts()
    for field, described in section.get("properties", {}).items():
        text = next((texts[owner, field] for owner in _owners(name) if (owner, field) in texts), None)
        if text:
            described["description"] = text


def _owners(name: str) -> tuple[str, ...]:
    return (name, "SourceSpec") if name == "SharedSource" else (name,)


@cache
def _field_texts() -> dict[tuple[str, str], str]:
    """(class, field) -> the string under the field, read from the source: importing does not keep it."""
    found: dict[tuple[str, str], str] = {}
    modules = (schema, scaffold_section, data_section, train_sections, server_section, proof_sections, config)
    for module in modules:
        for node in ast.parse(_source(module)).body:
            if isinstance(node, ast.ClassDef):
                found |= {(node.name, field): text for field, text in _texts_of(node)}
    return found


def _texts_of(node: ast.ClassDef) -> list[tuple[str, str]]:
    pairs = zip(node.body, node.body[1:], strict=False)
    return [
        (field.target.id, " ".join(text.value.value.split()))
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    ]


def _source(module: ModuleType) -> str:
    return inspect.getsource(module)
