"""Training on longer rows than before: which sources may have them, the model that is told, and the share they keep to.

Rows of a source marked `long` are cut at `data.long_context`, all others at `data.context` as ever. The model that is
trained is the start with another configuration, in a folder of the run; what it is compared with stays as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery.core.errors import InputError
from bloomery.core.files import MANIFEST, building_folder, read_json, write_json
from bloomery.families.longer import LONGEST_SHARE, longer
from bloomery.recipes.load import Loaded
from bloomery.recipes.machine import Machine
from bloomery.recipes.plan import Plan, Source, Value
from bloomery.recipes.problem import Problem
from bloomery.recipes.start import Start, whole_config

if TYPE_CHECKING:
    from bloomery.train.parallel import World

KEY, CONFIGURATION, ROPE = "data.long_context", "long.configuration", "long.rope"
FOLDER = "longer-start"
TOKENIZER = "tokenizer_config.json"


def long_values(loaded: Loaded, start: Start, sources: Sequence[Source], context: int) -> dict[str, Value]:
    """The long context and the model's configuration for it; nothing where the recipe asks for none.

    Raises `InputError` for a long context without long sources or the other way round, one that is not longer, and a
    model that cannot be told.
    """
    asked, marked = loaded.recipe.data.long_context, [source.name for source in sources if source.long]
    if asked is None:
        if marked:
            message = f"`{marked[0]}` is `long`, and `data.long_context` does not say how long"
            raise InputError(message, where=loaded.place("data"), fix="set `data.long_context`, in tokens")
        return {}
    place = loaded.place(KEY)
    if not marked:
        raise InputError(f"`{KEY}` is set, and no source is `long`", where=place, fix="mark those with `long: true`")
    if asked <= context:
        message = f"`{KEY}: {asked}` is no longer than `data.context`, which is {context}"
        raise InputError(message, where=place, fix="raise it, or remove it and every `long`")
    if start.kind == "scaffold":
        message = f"`{KEY}` lengthens the context that a model was trained with, and an empty model has none"
        raise InputError(message, where=place, fix="set `data.context`, and lengthen it in a training after it")
    value = {KEY: Value(asked, "user")}
    config = whole_config(Path(start.folder)) if start.folder else {}
    if not config:
        return value  # the run fetches the model; then it is known
    if "text_config" in config:
        raise InputError(f"`{KEY}`: `{start.ref}` is a text model inside another", where=place, fix=f"remove `{KEY}`")
    try:
        found, why = longer(config, asked, loaded.recipe.data.rope)
    except InputError as error:
        raise InputError(f"`{KEY}: {asked}`: {error.message}", where=place, fix=error.fix) from None
    return value | {ROPE: Value(loaded.recipe.data.rope, "user", why), CONFIGURATION: Value(found, "derived", why)}


def long_context(plan: Plan) -> int | None:
    """The length that rows of `long` sources may have in tokens; None where the plan has none."""
    value = plan.values.get(KEY)
    return value.value if value else None


def longest(plan: Plan) -> int:
    """Tokens of the longest row that any source may have."""
    return long_context(plan) or int(plan.get("context"))


def context_of(plan: Plan, name: str) -> int:
    """Tokens of the longest row of one source."""
    source = next(source for source in plan.sources if source.name == name)
    return longest(plan) if source.long else int(plan.get("context"))


def check_long(loaded: Loaded, plan: Plan, machine: Machine) -> Iterator[Problem]:
    """Refusals: more long rows than short-context skill bears, and what goes together with none."""
    marked = {source.name for source in plan.sources if source.long}
    if long_context(plan) is None:
        return
    if plan.get("objective") not in ("text", "sft"):
        yield Problem(f"`{KEY}` with `objective: {plan.get('objective')}`", loaded.place(KEY), f"remove `{KEY}`")
    if plan.get("data.order") != "shuffle":
        yield Problem(f"`{KEY}` with `data.order: {plan.get('data.order')}`", loaded.place(KEY), "use `order: shuffle`")
    if plan.get("keep.hold"):
        message = f"`{KEY}` with `keep.hold`: the controller would change what long sources may have"
        yield Problem(message, loaded.place("keep.hold"), "remove `hold`")
    for part in plan.arm().segments:
        share = sum(one for name, one in part["share"].items() if name in marked)
        if share > LONGEST_SHARE + 1e-9:
            yield Problem(
                f"long sources make {share:.0%} of the tokens from step {part['start']:,} on, and at most "
                f"{LONGEST_SHARE:.0%} may be long: beyond that, skill on short rows is lost (Olmo 3: 2.5 points with "
                f"66 % long data, 0.8 with {LONGEST_SHARE:.0%})",
                loaded.place("phases") or loaded.place("data.share") or loaded.place("data"),
                "lower `share`, or add sources that are not `long`",
            )


def lengthened(plan: Plan, run: Path, world: World) -> Plan:
    """The plan as training takes it: from the start's weights under the longer configuration, in a folder of the run.

    The weights are the same files, linked where the file system can; the first process makes the folder.
    """
    if CONFIGURATION not in plan.values:
        return plan
    place = (run / FOLDER).resolve()
    if world.first and not place.exists():
        _write(place, plan, Path(plan.get("start.folder")))
    world.barrier()
    keys = ("start.folder", "start.tokenizer")
    own = {key: Value(str(place), "derived", "with the longer context") for key in keys}
    return plan.updated(own if (place / "tokenizer.json").is_file() else {keys[0]: own[keys[0]]})


def _write(place: Path, plan: Plan, start: Path) -> None:
    with building_folder(place, {"kind": "start"}) as building:
        for path in sorted(p for p in start.iterdir() if p.is_file() and p.name not in ("README.md", MANIFEST)):
            _link(path.resolve(), building / path.name)
        # written anew and renamed: what a link leads to stays as it is
        write_json(building / "config.json", plan.get(CONFIGURATION))
        if (building / TOKENIZER).is_file():
            write_json(building / TOKENIZER, read_json(building / TOKENIZER) | {"model_max_length": longest(plan)})


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
