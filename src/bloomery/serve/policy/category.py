"""A category as it guards: its detectors made, its exceptions compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import InputError, Where
from bloomery.graders.load import NOTHING, Given, load_grader
from bloomery.graders.nested import walk
from bloomery.serve.policy.decision import Action
from bloomery.serve.policy.head import load_head
from bloomery.serve.policy.load import Loaded
from bloomery.serve.policy.numbers import CHECKS
from bloomery.serve.policy.pattern import Pattern
from bloomery.serve.policy.schema import REMOTE, Category, Detector, words_of
from bloomery.serve.policy.whole import HEAD_EVERY, Ask, AskDetector, GraderDetector, HeadDetector, Whole
from bloomery.serve.policy.words import near_pattern, word_pattern


@dataclass(frozen=True, slots=True)
class Armed:
    """One category, ready to look at texts. `order` is its place in the policy, the floor's first."""

    order: int
    name: str
    floor: bool
    action: Action
    inputs: bool
    outputs: bool
    message: str
    mask: str
    severity: str
    on_failure: Action
    patterns: tuple[tuple[str, Pattern], ...]
    wholes: tuple[Whole, ...]
    allowed: tuple[tuple[Pattern, str], ...]


def arm(loaded: Loaded, ask: Ask | None = None, given: Given = NOTHING) -> tuple[Armed, ...]:
    """All categories of a policy, the floor first.

    `ask` puts a question to the served model, `given` knows judges of this machine by name. Raises `InputError` naming
    file and line for a detector that cannot be made: a pattern that does not compile, a word list or head that is not
    there, a grader that is refused.
    """
    named = [(name, category, True) for name, category in loaded.floor.items()]
    named += [(name, category, False) for name, category in loaded.policy.categories.items()]
    return tuple(_arm(loaded, place, *own, ask, given) for place, own in enumerate(named))


def _arm(
    loaded: Loaded, order: int, name: str, category: Category, floor: bool, ask: Ask | None, given: Given
) -> Armed:
    patterns: list[tuple[str, Pattern]] = []
    wholes: list[Whole] = []
    for number, detector in enumerate(category.detectors):
        told = f"{detector.kind} {number + 1}"
        with _at(loaded, f"categories.{name}.detectors.{number}"):
            if detector.kind in ("regex", "words", "near"):
                patterns.append((told, _pattern(detector, loaded.path.parent, category.action == "mask", floor)))
            else:
                wholes.append(_whole(told, detector, loaded.path.parent, ask, given))
    allowed = []
    for number, exception in enumerate(category.allow):
        with _at(loaded, f"categories.{name}.allow.{number}"):
            allowed.append((word_pattern(exception.phrases), exception.reason))
    return Armed(
        order=order,
        name=name,
        floor=floor,
        action=category.action,
        inputs=category.applies != "output",
        outputs=category.applies != "input",
        message=category.message or loaded.policy.message,
        mask=loaded.policy.mask,
        severity=category.severity,
        on_failure=category.on_failure,
        patterns=tuple(patterns),
        wholes=tuple(wholes),
        allowed=tuple(allowed),
    )


class _at:
    """Gives an `InputError` raised inside the place of a key."""

    def __init__(self, loaded: Loaded, key: str) -> None:
        self.loaded, self.key = loaded, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, InputError) and error.where is None:
            place: Where = self.loaded.place(self.key)
            raise InputError(f"`{self.key}`: {error.message}", where=place, fix=error.fix) from None


def _pattern(detector: Detector, base: Path, masked: bool, floor: bool) -> Pattern:
    if detector.words is not None:
        return word_pattern(words_of(detector, base))
    if detector.near is not None:
        return near_pattern(detector.near, detector.gap, detector.any_order, detector.without, masked)
    assert detector.regex is not None
    holds = CHECKS[detector.check] if detector.check else None
    return Pattern(detector.regex, detector.longest, detector.ignore_case, detector.fold, holds, known=floor)


def _whole(name: str, detector: Detector, base: Path, ask: Ask | None, given: Given) -> Whole:
    if detector.head is not None:
        head = load_head(base / detector.head)
        threshold = head.threshold if detector.threshold is None else detector.threshold
        return HeadDetector(name, head, threshold, detector.every or HEAD_EVERY)
    if detector.ask is not None:
        if ask is None:
            message = "`ask` puts a question to the served model, and there is none here"
            raise InputError(message, fix="use `label_model` with a model's address, or serve a model")
        return AskDetector(name, ask, detector.ask, tuple(detector.labels), tuple(detector.flagged), detector.every)
    threshold, spec = 0.5 if detector.threshold is None else detector.threshold, _spec(detector)
    for _, part in walk(spec):
        _refuse_absent(part, given)
    grader = load_grader(spec, given=given)
    return GraderDetector(name, grader, threshold, detector.flags == "low", detector.every)


def _refuse_absent(part: Mapping[str, object], given: Given) -> None:
    """A grader that asks a model which an endpoint does not have beside the one that it serves."""
    fix = "use `ask`, which asks the served model, or name a server: `judge: {url: https://.../v1, model: NAME}`"
    who = part.get("judge", part.get("embedder"))
    if isinstance(who, str) and given.judges is None:
        raise InputError(f"`{who}` is not loaded beside the model that is served", fix=fix)
    if part.get("type") in ("score_model", "label_model", "pairwise") and who is None and part.get("url") is None:
        raise InputError("the grader has no judge to ask", fix=fix)


def _spec(detector: Detector) -> Mapping[str, object]:
    """A grader's spec: its kind is the key it stands under, or its own `type` under `grader`."""
    kind = next(kind for kind in REMOTE if getattr(detector, kind) is not None)
    given = dict(getattr(detector, kind))
    return given if kind == "grader" else {"type": "score_model" if kind == "judge" else kind, **given}
