"""Models made of several: what their manifest says of their parents, without paths, since it travels with the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from bloomery.core.files import MANIFEST, read_json
from bloomery.lineage.provenance import Start
from bloomery.lineage.record import DAMAGE

QUEUE = ".reenter"
"""End of the name of a folder that holds what a re-entry made; the model it chose is in `model/`."""


@dataclass(frozen=True, slots=True)
class Parent:
    """One of the models that another was made of: as people call it, the run it is of, if any, and its hash."""

    name: str
    sha256: str
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A model folder made of several others.

    `how` is a sentence without a verb, such as `graft, strength 0.6`. `family` and `stage` say which published
    checkpoint it takes the place of, where it does.
    """

    name: str
    path: Path
    sha256: str
    how: str
    parents: tuple[Parent, ...]
    family: str | None = None
    stage: str | None = None


def public_name(ref: str) -> str:
    """A family's stage, a Hub id or a run as it is called; of a folder only its name, since its path is private."""
    return PurePath(ref).name if ref.startswith(("/", ".", "~")) or ref.count("/") > 1 else ref


def about_made(
    how: str, starts: Sequence[Start], family: str | None = None, stage: str | None = None
) -> dict[str, Any]:
    """What goes into the manifest of a model made of `starts`; `read_made` reads it back."""
    parents = [asdict(Parent(public_name(one.ref), str(one.sha256), one.run)) for one in starts]
    return {"how": how, "parents": parents, "family": family, "stage": stage}


def read_made(folder: Path) -> Made | None:
    """A model folder with several parents; None for any other, and for one whose manifest is damaged."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(folder / MANIFEST)
        about = manifest["about"]
        parents = tuple(Parent(**one) for one in about.get("parents", ()))
        inside = folder.name == "model" and folder.parent.name.endswith(QUEUE)
        name = folder.parent.name if inside else folder.name
        if not parents:
            return None
        return Made(name, folder, manifest["self"], about["how"], parents, about.get("family"), about.get("stage"))
    except DAMAGE:
        return None


def made_models(root: Path) -> Iterator[Made]:
    """Models with several parents directly under `root`, and those that re-entries there have chosen, by name."""
    if not root.is_dir():
        return
    for place in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = read_made(place / "model" if place.name.endswith(QUEUE) else place)
        if found:
            yield found
