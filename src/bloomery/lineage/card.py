"""The model card: what a model is made of, what it gained and lost, and what it must not be used for.

Front matter and sections follow the Hugging Face model card. It takes names and numbers only: no user row, no
example of one and no path can get in, so a card may be shown where the data may not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from bloomery.core.errors import InputError
from bloomery.lineage.licence import hub_licence

_LONGEST = 200
_MARKUP = re.compile(r"([\\`*_|<>\[\]])")


@dataclass(frozen=True, slots=True)
class SourceShare:
    """One source in the blend; shares are fractions of all tokens, `curated` tells the family's own data."""

    name: str
    asked: float
    realised: float
    tokens: int
    epochs: float
    curated: bool
    licence: str = "not stated"


@dataclass(frozen=True, slots=True)
class Measure:
    """One evaluation figure before and after; `low` and `high` bound the difference with 95 % confidence."""

    name: str
    unit: str
    before: float
    after: float
    low: float | None = None
    high: float | None = None
    documents: int | None = None


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything a card says. `ancestry` goes from the nearest start to the outside one.

    A model made of several has them all as `parents`; `base_model` is then the one whose files it has.
    """

    name: str
    licence: str
    base_model: str
    ancestry: Sequence[str]
    blend: Sequence[SourceShare]
    measures: Sequence[Measure]
    training: Mapping[str, str | int | float]
    versions: Mapping[str, str]
    verdict: str = "not evaluated"
    limits: Sequence[str] = ()
    languages: Sequence[str] = ()
    tags: Sequence[str] = field(default_factory=lambda: ("bloomery",))
    parents: Sequence[str] = ()


def model_card(facts: CardFacts) -> str:
    """The text of README.md. Raises `InputError` when a name is longer than a name can be, or spans lines."""
    sections = [
        f"# {_plain(facts.name)}",
        _lineage(facts),
        "## Training data\n\n" + (_blend(facts.blend) if not facts.parents else "That of the models it was made of."),
        "## Training\n\n" + _table(["", ""], [[k, _number(v)] for k, v in facts.training.items()]),
        "## Evaluation\n\n" + _evaluation(facts),
        "## Limits\n\n" + _limits(facts.limits),
        "## Software\n\n"
        + ", ".join(f"{_plain(name)} {_plain(version)}" for name, version in facts.versions.items())
        + ".",
    ]
    return f"---\n{_front_matter(facts)}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(facts: CardFacts) -> str:
    from ruamel.yaml import YAML

    matter: dict[str, Any] = {
        **hub_licence(_checked(facts.licence)),
        "base_model": [_checked(name) for name in facts.parents] or _checked(facts.base_model),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": [_checked(tag) for tag in facts.tags],
    }
    if facts.parents:
        matter["base_model_relation"] = "merge"
    if facts.languages:
        matter["language"] = [_checked(language) for language in facts.languages]
    if facts.measures:
        matter["metrics"] = sorted({_checked(measure.unit) for measure in facts.measures})
        matter["model-index"] = [{"name": _checked(facts.name), "results": [_result(m) for m in facts.measures]}]
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(matter, text)
    return text.getvalue()


def _result(measure: Measure) -> dict[str, Any]:
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": _checked(measure.name), "type": _checked(measure.name)},
        "metrics": [{"type": _checked(measure.unit), "value": round(measure.after, 6)}],
    }


def _lineage(facts: CardFacts) -> str:
    if facts.parents:
        further = [_plain(name) for name in facts.ancestry if name not in facts.parents]
        above = " and ".join(_plain(name) for name in facts.parents) + "".join(f" ← {name}" for name in further)
        return f"Merged with Bloomery.\n\nLineage: {_plain(facts.name)} ← {above}"
    chain = " ← ".join(_plain(name) for name in [facts.name, *facts.ancestry])
    return f"Made with Bloomery from `{_checked(facts.base_model)}`.\n\nLineage: {chain}"


def _blend(blend: Sequence[SourceShare]) -> str:
    if not blend:
        return "No data was recorded."
    rows = [_blend_row(source) for source in blend]
    return _table(["source", "kind", "share asked", "share realised", "tokens", "epochs", "licence"], rows)


def _blend_row(source: SourceShare) -> list[str]:
    return [
        _plain(PurePath(source.name).name),  # a folder name may say more than its owner wants to publish
        "curated" if source.curated else "domain",
        f"{source.asked:.1%}",
        f"{source.realised:.1%}",
        f"{source.tokens:,}",
        f"{source.epochs:.2f}",
        _plain(source.licence),
    ]


def _evaluation(facts: CardFacts) -> str:
    if not facts.measures:
        return "This model was not evaluated."
    rows = [
        [
            _plain(m.name),
            _plain(m.unit),
            f"{m.before:.4g}",
            f"{m.after:.4g}",
            f"{m.after - m.before:+.4g}",
            _interval(m),
            _count(m),
        ]
        for m in facts.measures
    ]
    table = _table(["what", "unit", "before", "after", "change", "95 % interval", "documents"], rows)
    return f"{table}\n\nForgetting budget: {_plain(facts.verdict)}."


def _interval(measure: Measure) -> str:
    return "–" if measure.low is None or measure.high is None else f"{measure.low:+.4g} to {measure.high:+.4g}"


def _count(measure: Measure) -> str:
    return "–" if measure.documents is None else f"{measure.documents:,}"


def _limits(limits: Sequence[str]) -> str:
    always = (
        "It may state falsehoods fluently. Figures above hold for the held-out documents named there and no others."
    )
    return "\n".join(f"- {text}" for text in [*(_plain(limit, longest=600) for limit in limits), always])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: str | int | float) -> str:
    if isinstance(value, str):
        return _plain(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _plain(text: str, longest: int = _LONGEST) -> str:
    return _MARKUP.sub(r"\\\1", _checked(text, longest))


def _checked(text: str, longest: int = _LONGEST) -> str:
    if len(text) <= longest and text.isprintable():
        return text
    raise InputError(
        f"a name of {len(text)} characters or several lines cannot stand in a model card",
        fix="give the source or metric a short name",
    )
