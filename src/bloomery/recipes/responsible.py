"""Suites that ship with Bloomery or lie in a file, and what a suite of privacy is measured on: a model's own rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bloomery
from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.sandbox import call_each
from bloomery.core.sandbox_level import Limits
from bloomery.core.validation import checked, place_in
from bloomery.core.yaml import load_yaml
from bloomery.families.suites import Suite
from bloomery.recipes.data_section import absolute
from bloomery.recipes.environments import of_suite
from bloomery.recipes.proof_sections import whole_grader

if TYPE_CHECKING:
    from bloomery.recipes.find import Found
    from bloomery.recipes.plan import Plan

SHIPPED = Path(bloomery.__file__).parent / "evals" / "shipped"
RESPONSIBLE = "responsible"
TOGETHER = ("refusal", "over_refusal")
"""Measured together or not at all: a model that refuses everything is perfect at the one alone."""
PAIRS = 200
"""Rows of the training data that are looked for, at most."""
LEAST = 200
"""Characters of a text that can be looked for."""


def shipped() -> list[str]:
    """Names of the bundles of suites that ship with Bloomery."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def is_bundle(name: str) -> bool:
    """Whether it names a shipped bundle or a file, and not a suite of a family's."""
    return name in shipped() or Path(name).suffix in (".yaml", ".yml", ".py")


def bundle(name: str, base: Path, trusted: bool = False) -> list[dict[str, Any]]:
    """The suites of a shipped bundle or of a file, as families describe theirs, with paths in full.

    Code runs only where it is `trusted`. Raises `InputError` with file and line for what cannot be.
    """
    file = SHIPPED / f"{name}.yaml" if name in shipped() else base / Path(name).expanduser()
    described, lines = (_from_python(file, trusted), {"": 1}) if file.suffix == ".py" else load_yaml(file)
    whole = described if isinstance(described, dict) else {}
    listed = whole.get("suites", [whole])
    found = []
    for number, one in enumerate(listed if isinstance(listed, list) else [listed]):
        prefix = f"suites.{number}" if "suites" in whole else ""
        suite = checked(Suite, one, place_in(lines, file), prefix=prefix)
        found.append(whole_suite(suite, file.parent, trusted))
    return found


def _from_python(file: Path, trusted: bool) -> Any:
    """What `suite(options)` of a Python file returns; its `grade(sample)` grades where that names no other grader."""
    if not trusted:
        fix = "read it, then add --trusted, or `trusted: true` to the recipe"
        raise InputError("is Python code, which runs with your rights", where=Where(file), fix=fix)
    [made] = call_each(file, "suite", [{}], Limits(60.0))
    if made.error:
        raise InputError(f"`suite` gave none: {made.error}", where=Where(file), fix="return the suite as a dictionary")
    value = made.value
    if isinstance(value, dict) and "suites" not in value and value.get("kind", "generate") == "generate":
        value = {"kind": "generate", "grader": {"type": "python", "path": str(file)}, **value}
    return value


def whole_suite(suite: Suite, base: Path, trusted: bool, own: bool = True) -> dict[str, Any]:
    """The suite as plain values that mean the same anywhere.

    Code runs where all of it is `trusted`, or by the suite's `own` word where that counts: a family's does not.
    """
    found = absolute(suite.model_dump(mode="json"), base)
    trusted = trusted or (own and suite.trusted)
    found["trusted"] = trusted
    found["grader"] = suite.grader and whole_grader(suite.grader, base, trusted, own)
    if suite.metrics:
        found["metrics"] = [
            one if isinstance(one, str) else whole_grader(one, base, trusted, own) for one in suite.metrics
        ]
    found["environment"] = suite.environment and of_suite(suite.environment, base, trusted)
    if suite.include:
        found["include"] = str(base / suite.include)
    found["tasks"] = [str(base / one) if suite.kind == "inspect" and ".py" in one else one for one in suite.tasks]
    return found


def refuse_alone(suites: Iterable[Mapping[str, Any]]) -> None:
    """Raise `InputError` where refusals are measured without over-refusals, or the other way."""
    roles = {suite["role"] for suite in suites}
    for one, other in (TOGETHER, TOGETHER[::-1]):
        if one in roles and other not in roles:
            said = f"suites of `role: {one}` are measured together with those of `role: {other}`, and none is asked for"
            why = "alone, the one rewards a model that always refuses, or never does"
            raise InputError(f"{said}: {why}", fix=f"add a suite of `role: {other}`")


def extraction(train: Sequence[Any], control: Sequence[Any]) -> dict[str, Any] | None:
    """A suite that looks for training rows in what the model says, each beside one that it was not trained on."""
    pairs = list(zip(train, control, strict=False))[:PAIRS]
    if not pairs:
        return None
    rows = [{"id": f"extraction-{n}", "text": text, "control": other} for n, (text, other) in enumerate(pairs)]
    suite = Suite(name="extraction", role="privacy", kind="extraction", rows=rows)
    return suite.model_dump(mode="json")


def of_run(plan: Plan, held: Sequence[Path]) -> dict[str, Any] | None:
    """Extraction for a run: rows of its domain that it was trained on, against those that were held out."""
    from bloomery.data.config import SourceSpec

    out = [text for path in held for text in _texts_of(path)]
    kept = {_key(text) for text in out}
    specs = [SourceSpec.model_validate(source.spec) for source in plan.sources if source.role == "domain"]
    base = Path(plan.get("base"))
    train = (text for spec in specs for text in _texts(spec, base) if _key(text) not in kept)
    return extraction(_spread(train), _spread(out))


def of_files(train: Path, control: Path) -> dict[str, Any]:
    """Extraction with the user's own rows on both sides. Raises `InputError` where one file has none."""
    found = extraction(_spread(_texts_of(train)), _spread(_texts_of(control)))
    if found is None:
        raise InputError(
            f"{train} and {control} have no two texts of {LEAST} characters", fix="name files of longer texts"
        )
    return found


def of_model(found: Found) -> dict[str, Any] | None:
    """Extraction for a run by its own record; None for a model whose training rows are not known here."""
    if found.run is None:
        return None
    from bloomery.recipes.plan import Plan

    plan = Plan.read(found.run.plan)
    names = [source.name for source in plan.sources if source.role == "domain"]
    held = [found.run.path / "eval" / f"{name}.jsonl" for name in names]
    return of_run(plan, [path for path in held if path.is_file()])


def _spread(texts: Iterable[Any]) -> list[Any]:
    """At most `PAIRS` of the first few thousand texts that are long enough, evenly spaced."""
    able = [text for text in islice(texts, 50 * PAIRS) if len(_key(text)) >= LEAST]
    return able[:: max(1, len(able) // PAIRS)][:PAIRS]


def _texts_of(path: Path) -> Iterator[Any]:
    from bloomery.data.config import SourceSpec

    return _texts(SourceSpec(path=str(path)), Path())


def _texts(spec: Any, base: Path) -> Iterator[Any]:
    """Documents as text, conversations as lists of messages."""
    from bloomery.data.shapes import detect, to_example
    from bloomery.data.sources import iter_records

    columns = None
    for record in iter_records(spec, base):
        columns = columns or detect(record, spec)
        example = to_example(record, columns)
        if example.text is not None:
            yield example.text
        elif not example.rejected and example.messages:
            yield [dict(message) for message in example.messages]


def _key(text: Any) -> str:
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, sort_keys=True)


def unknown(name: str, known: Iterable[str]) -> str:
    """What is said of a name that is neither a suite nor a bundle nor a file."""
    return nearest(name, [*known, *shipped()])
