"""A start that the recipe describes by one dial: the empty model, its tokenizer, and the folder a run keeps of both."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import building_folder, read_json, write_json
from bloomery.families.registry import Family, load_family
from bloomery.families.scaffold import Scaffold, scaffold
from bloomery.recipes.load import Loaded
from bloomery.recipes.plan import Plan, Value
from bloomery.recipes.scaffold_section import ScaffoldSection
from bloomery.recipes.start import Start, from_family

if TYPE_CHECKING:
    from bloomery.train.parallel import World

EMBEDDED = "ember"
"""The family whose tokenizer an empty model has where the recipe names none."""

_NAMED = ("bos", "pad")
"""Special tokens that a model's configuration names, where there are any, beside the end of text."""

CONFIG = "tokenizer_config.json"
TOKENIZER = ("tokenizer.json", CONFIG, "special_tokens_map.json", "chat_template.jinja")
"""What a tokenizer consists of; other files of its folder stay where they are."""


@dataclass(frozen=True, slots=True)
class Made:
    """An empty model as a start, and everything derived for it as values of the plan."""

    start: Start
    values: dict[str, Value]


def made_scaffold(loaded: Loaded, family: Family | None) -> Made | None:
    """The empty model that the recipe describes; None where it describes none.

    With a family it has that one's tokenizer, unless it names its own, and its curated data. Raises `InputError` naming
    the line of a tokenizer that is not there, or of a size that no model has.
    """
    asked = loaded.recipe.scaffold
    if asked is None:
        return None
    own = _of_family(family or load_family(EMBEDDED))
    folder = _tokenizer(loaded, asked, own)
    try:
        found = _derived(loaded, asked, folder)
    except InputError as error:
        place = error.where or loaded.place("scaffold")
        raise InputError(error.message, where=place, fix=error.fix) from None
    start = Start(
        ref=f"scaffold/{asked.shape}-depth-{found['depth']}",
        kind="scaffold",
        stage="pre",
        peak_lr=found["peak_lr"],
        batch_tokens=found["batch_tokens"],
        context=found["context"],
        tokenizer=str(folder),
        chat_template=None if asked.tokenizer else own.chat_template,
        mix=own.mix if family else None,
        parameters=found["parameters"],
        configuration=found.config,
    )
    values = {name: Value(one.value, "derived", one.why) for name, one in found.values.items()}
    shape = Value(asked.shape, "user" if "shape" in asked.model_fields_set else "stage default")
    depth = replace(values["depth"], origin="user") if asked.depth is not None else values["depth"]
    values = {"shape": shape, **values, "depth": depth}
    return Made(start, {f"scaffold.{name}": value for name, value in values.items()})


def _of_family(family: Family) -> Start:
    """The checkpoint whose tokenizer and curated data suit a new model: the empty one, else the first."""
    stages = family.file.checkpoints
    return from_family(family, next((name for name, one in stages.items() if one.empty), next(iter(stages))))


def _tokenizer(loaded: Loaded, asked: ScaffoldSection, own: Start) -> Path:
    if asked.tokenizer is None:
        folder, place = Path(own.tokenizer or ""), loaded.place("family")
        fix = "name a folder by `scaffold.tokenizer`, such as `bloomery tokenizer` writes"
    else:
        folder, place = (loaded.base / Path(asked.tokenizer).expanduser()), loaded.place("scaffold.tokenizer")
        fix = "make one: bloomery tokenizer CORPUS... FOLDER"
    if not (folder / "tokenizer.json").is_file():
        what = f"`scaffold.tokenizer: {asked.tokenizer}`" if asked.tokenizer else f"the tokenizer of `{own.ref}`"
        raise InputError(f"{what} is no folder here with a tokenizer.json", where=place, fix=fix)
    return folder.resolve()


def _derived(loaded: Loaded, asked: ScaffoldSection, folder: Path) -> Scaffold:
    from bloomery.data.vocabulary import load_tokenizer, read_vocabulary

    tokenizer = load_tokenizer(folder)
    vocabulary = read_vocabulary(folder, tokenizer)
    named = {f"{name}_token_id": tokenizer.token_to_id(vocabulary.special.get(f"{name}_token", "")) for name in _NAMED}
    return scaffold(
        asked.shape,
        vocabulary.size,
        depth=asked.depth,
        parameters=asked.parameters,
        context=loaded.recipe.data.context,
        tokens=named | {"eos_token_id": vocabulary.eos},
    )


def with_folder(plan: Plan, run: Path, world: World) -> Plan:
    """The plan that starts from `run/scaffold`: configuration and tokenizer in one folder, made by the first process.

    From then on the run does not need the tokenizer's own folder any more, wherever the run itself is moved to.
    """
    config = plan.section("start").get("configuration")
    if config is None or plan.get("start.kind") != "scaffold":
        return plan
    place = (run / "scaffold").resolve()
    if world.first and not place.exists():
        _write(place, config, Path(plan.get("start.tokenizer")))
    world.barrier()
    keys = ("start.folder", "start.tokenizer")
    return plan.updated({key: replace(plan.values[key], value=str(place)) for key in keys})


def _write(place: Path, config: dict[str, Any], tokenizer: Path) -> None:
    if not (tokenizer / TOKENIZER[0]).is_file():
        raise InputError("the tokenizer is gone", where=Where(tokenizer), fix="put the folder back")
    with building_folder(place, {"kind": "scaffold"}) as building:
        write_json(building / "config.json", config)
        for name in TOKENIZER:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, building / name)
        if (building / CONFIG).is_file():  # a tokenizer is not made for one context; a model is
            told = read_json(building / CONFIG)
            write_json(building / CONFIG, told | {"model_max_length": config["max_position_embeddings"]})
