"""Training and evaluation rows kept apart: what is measured on, and which sources give way to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bloomery.data.contamination import Measured
from bloomery.data.overlap import Evaluated, suite_digests, suite_examples, without
from bloomery.data.render import Renderer
from bloomery.data.shapes import Example
from bloomery.data.store import TokenStore
from bloomery.data.turns import plain
from bloomery.recipes.mixing import OWN
from bloomery.recipes.plan import Plan, Source

if TYPE_CHECKING:
    from bloomery.recipes.held import Held

Docs = npt.NDArray[np.int64]
BREAK = -1
"""Between two messages of a row: no passage goes on from one to the other."""


def evaluated_rows(plan: Plan, held: Iterable[Held]) -> dict[str, Evaluated]:
    """Everything the run is measured on, by name: what is held out, and every suite of the family's.

    Prompts alone count where answers are generated. They do not for rows that the run itself holds out: the user's
    conversations may all begin alike. Nor do games that are told apart by what their text does not hold.
    """
    graded = plan.get("eval.domain") is not None and plan.get("eval.grader") is not None
    found = {one.name: one.evaluated(graded and one.role == "domain") for one in held if not one.alike}
    for suite in plan.get("eval.suites"):
        if suite["path"] and suite["kind"] != "exposure":  # canaries are planted on purpose
            found[suite["name"]] = suite_digests(Path(suite["path"]), suite["kind"] != "bpb")
    return found


def measured(plan: Plan, held: Iterable[Held], renderer: Renderer) -> dict[str, Measured]:
    """The same as documents of tokens, to look for their passages in what is trained on."""
    found = {one.name: Measured.of_table(one.table) for one in held if not one.alike}
    for suite in plan.get("eval.suites"):
        if suite["path"] and suite["kind"] != "exposure" and suite["name"] not in found:
            said = [_said(example) for example in suite_examples(Path(suite["path"]))]
            ids = iter(renderer.plain_ids([text for texts in said for text in texts]))
            found[suite["name"]] = Measured.of([[i for _ in texts for i in (*next(ids), BREAK)] for texts in said])
    return found


def _said(example: Example) -> list[str]:
    return [example.text] if example.text is not None else [plain(turn["content"]) for turn in example.spoken]


def give_way(
    plan: Plan, stores: Mapping[str, TokenStore], evaluated: Mapping[str, Evaluated], training: Mapping[str, Docs]
) -> tuple[dict[str, Docs], dict[str, Docs]]:
    """(documents that stay, documents that go) of each curated source that gives way to what is measured.

    `training` are the documents left of sources that some are held out of. What gives way are the family's sources and
    the generated ones, and all where general text is held out of them. Otherwise rows of the user's own files are
    refused instead: nobody but the user can say which side they belong to.
    """
    stay, gone = {}, {}
    for source in plan.sources:
        if _gives_way(source, plan):
            store = stores[source.name]
            before = training.get(source.name)
            stay[source.name] = without(store, before, evaluated.values())
            gone[source.name] = np.setdiff1d(np.arange(store.n_docs) if before is None else before, stay[source.name])
    return stay, {name: docs for name, docs in gone.items() if len(docs)}


def _gives_way(source: Source, plan: Plan) -> bool:
    own = plan.get("curated.mix") == OWN and plan.get("eval.general") != "replayed"
    return source.role == "curated" and (not own or bool(source.spec.get("builtin")))
