"""Who judged a suite's answers, and whether that was the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bloomery.evals.results import EvalResult
from bloomery.graders.load import NOTHING, Given
from bloomery.graders.nested import walk
from bloomery.lineage.parents import public_name


@dataclass(frozen=True, slots=True)
class Judging:
    """What graders are given, and the names under which a judge is the model that is being measured."""

    given: Given = NOTHING
    itself: frozenset[str] = frozenset()

    def told(self, grader: Mapping[str, Any] | None) -> dict[str, Any]:
        """Who judges by this grader, as `SuiteResult` keeps it."""
        names = judges_of(grader) if grader else []
        shown = ", ".join(public_name(name) for name in names)
        return {"judge": shown, "itself": any(name in self.itself for name in names)}


NOBODY = Judging()


def judges_of(grader: Mapping[str, Any]) -> list[str]:
    """Names of the models that a grader and those inside it ask: as written, or NAME at HOST for a server's."""
    found = []
    for _, part in walk(grader):
        who = part.get("judge", part.get("embedder"))
        if isinstance(who, Mapping):
            found.append(f"{who.get('model')} at {urlsplit(str(who.get('url'))).hostname}")
        elif part.get("url") is not None and part.get("type") != "endpoint":
            found.append(f"{part.get('model') or 'a model'} at {urlsplit(str(part['url'])).hostname}")
        elif isinstance(who, str):
            found.append(who)
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Judged:
    """One suite with its judge; `itself` are the models that were judged by themselves."""

    suite: str
    judge: str
    itself: tuple[str, ...] = ()

    def said(self) -> str:
        """A sentence without a full stop."""
        said = f"{self.suite} is judged by {self.judge}"
        if not self.itself:
            return said
        own = " and ".join(dict.fromkeys(self.itself))
        return f"{said}, which is {own} itself: a model tends to prefer its own answers"


def judged(models: Sequence[EvalResult]) -> tuple[Judged, ...]:
    """Every suite of these models that a model judged."""
    found: dict[str, Judged] = {}
    for model in models:
        for suite in model.suites.values():
            if suite.judge:
                known = found.get(suite.name, Judged(suite.name, suite.judge))
                itself = (*known.itself, model.model) if suite.itself else known.itself
                found[suite.name] = Judged(suite.name, suite.judge, itself)
    return tuple(found.values())
