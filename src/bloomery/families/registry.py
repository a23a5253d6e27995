"""Finding families: those shipped with Bloomery, and those a user drops into `./families`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.resources import families_dir
from bloomery.core.validation import checked, place_in
from bloomery.core.yaml import load_yaml
from bloomery.families.schema import Checkpoint, CuratedSource, FamilyFile

FILE = "family.yaml"
BLENDS = "blends"
"""Folder of the mixes that belong to no family."""
PROXIES = ("proxy", "embedded")
"""Mixes that stand in for a family's own data: open data sets, and what needs no download."""
SCAFFOLD = "scaffold"
KINDS = {
    "pre": (),
    "mid": ("anneal", "long", "cooldown", "decay"),
    "post": ("instruct", "chat", "sft", "think", "dpo"),
}
"""Kinds of checkpoint, in order, and words for them beside the prefix."""
_CHECKPOINTS = re.compile(r"(?:^|[{,])\s*[\"']?checkpoints[\"']?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Family:
    """A family file that has been read and checked; `folder` is where its relative paths begin."""

    file: FamilyFile
    folder: Path
    path: Path
    mixes: dict[str, list[CuratedSource]]

    @property
    def name(self) -> str:
        """The name recipes use."""
        return self.file.name

    def checkpoint(self, stage: str, key: str = "start: ") -> Checkpoint:
        """The checkpoint called `stage`; raises `InputError` naming what there is, and what to use instead.

        `key` is what the name was written behind.
        """
        if stage in self.file.checkpoints:
            return self.file.checkpoints[stage]
        meant = self._meant(stage)
        fix = f"use `{key}{meant}`" if meant else f"use `{key.strip()}` with one of them"
        if stage == SCAFFOLD and key == "start: ":
            fix = "add `scaffold: {depth: 12}`, which describes an empty model for the family's tokenizer and data"
        known = ", ".join(self.file.checkpoints)
        raise InputError(f"the family `{self.name}` has no checkpoint `{stage}`; it has {known}", fix=fix)

    def _meant(self, stage: str) -> str | None:
        """The checkpoint that a name stands for: one of nearly that name, else the nearest of the kind it says."""
        name = stage.lower()
        close = get_close_matches(name, self.file.checkpoints, n=1, cutoff=0.8)
        close = close or [known for known in self.file.checkpoints if name and name in known]
        if close:
            return close[0]
        kind = next((kind for kind in KINDS if name.startswith(kind)), None)
        kind = kind or next((kind for kind, words in KINDS.items() if any(word in name for word in words)), None)
        return self.instead_of(kind) if kind else None

    def instead_of(self, kind: str) -> str:
        """The checkpoint nearest to a kind, pre, mid or post: an earlier one before a later one."""
        order = list(KINDS)
        usable = {name: c for name, c in self.file.checkpoints.items() if not c.empty} or self.file.checkpoints

        def distance(name: str) -> tuple[int, int, bool]:
            rank = order.index(usable[name].stage)
            return abs(rank - order.index(kind)), rank, not name.startswith(kind)

        return min(usable, key=distance)

    def mix_name(self, stage: str) -> str | None:
        """The curated mix that training from `stage` is blended with; None when the family has none."""
        named = self.file.checkpoints[stage].curated if stage in self.file.checkpoints else None
        return named or (stage if stage in self.mixes else None)

    def mix(self, name: str) -> list[CuratedSource]:
        """The curated sources of a mix; raises `InputError` for an unknown name."""
        if name not in self.mixes:
            raise InputError(f"the family `{self.name}` has no curated mix `{name}`{nearest(name, self.mixes)}")
        return self.mixes[name]

    def file_of(self, relative: str) -> Path:
        """A path of the family file as a path on this machine."""
        return (self.folder / relative).resolve()


def family_files() -> dict[str, Path]:
    """Family file by name: shipped ones, overlaid by `./families/NAME.yaml` and `./families/NAME/family.yaml`.

    A YAML file without `checkpoints` is none: mixes may stand in a file of their own beside a family.
    """
    found: dict[str, Path] = {}
    for root in (families_dir(), _own_dir()):
        for path in sorted([*root.glob("*.yaml"), *root.glob(f"*/{FILE}")]):
            if path.name == FILE or _CHECKPOINTS.search(path.read_text(encoding="utf-8", errors="replace")):
                found[_name_of(path)] = path
    return found


def _own_dir() -> Path:
    return Path("families").resolve()


def _name_of(path: Path) -> str:
    return path.parent.name if path.name == FILE else path.stem


def all_families() -> tuple[list[Family], list[InputError]]:
    """Every family, read and checked, and what is wrong with those that are none."""
    families: list[Family] = []
    faults: list[InputError] = []
    for path in family_files().values():
        try:
            families.append(read_family(path))
        except InputError as error:
            faults.append(error)
    return families, faults


def load_family(name: str) -> Family:
    """Read and check a family by name. Raises `InputError` with the nearest name, or the file and line at fault."""
    files = family_files()
    own = {path.stem: path for path in _own_dir().glob("*.yaml")}
    if name not in files and name not in own:
        raise InputError(
            f"there is no family `{name}`{nearest(name, files)}",
            fix="see `bloomery families list`, add a file to ./families, or use `model:` with a folder or Hub id",
        )
    return read_family(files.get(name) or own[name])


def read_family(path: Path) -> Family:
    """Read and check one family file."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise InputError(
            "is not the mapping of a family's keys", where=Where(path, 1), fix="write `name:` and the rest"
        )
    file = checked(FamilyFile, data, place_in(lines, path))
    if file.name != _name_of(path):
        message = f"`name: {file.name}` is another name than the file's, which recipes would use"
        fix = f"write `name: {_name_of(path)}`, or rename the file"
        raise InputError(message, where=Where(path, lines.get("name")), fix=fix)
    mixes = file.curated
    if isinstance(mixes, str):
        mixes = _mixes(path.parent / mixes)
    for name, sources in mixes.items():
        _sums_to_one(name, sources, path)
    for name, kind in file.added.items():
        if name not in mixes:
            message = f"`added.{name}` is no mix of the family{nearest(name, mixes)}"
            raise InputError(message, where=Where(path, lines.get(f"added.{name}")))
        mixes = {**mixes, name: _with_added(mixes[name], kind)}
    for stage, checkpoint in file.checkpoints.items():
        if checkpoint.curated is not None and checkpoint.curated not in mixes:
            raise InputError(
                f"`checkpoints.{stage}.curated: {checkpoint.curated}` is no mix of the family",
                where=Where(path, lines.get(f"checkpoints.{stage}.curated")),
                fix=f"use one of {', '.join(mixes) or 'the mixes under `curated`'}",
            )
    return Family(file, path.parent.resolve(), path, mixes)


def proxy_mix(name: str, stage: str) -> list[CuratedSource]:
    """The mix `name` (one of `PROXIES`) that stands in for a family's own data at a stage, pre, mid or post."""
    path = families_dir() / BLENDS / f"{name}.yaml"
    mixes = _mixes(path)
    _sums_to_one(stage, mixes[stage], path)
    return mixes[stage]


def added_sources(kind: str) -> list[CuratedSource]:
    """What of safety and instruction following is added to a family's mix of `kind` text or chat."""
    return _mixes(families_dir() / BLENDS / "added.yaml")[kind]


def _with_added(own: list[CuratedSource], kind: str) -> list[CuratedSource]:
    """A family's sources and what is added to them, which they make room for in proportion."""
    added = added_sources(kind)
    left = 1 - sum(source.share for source in added)
    return [*(source.model_copy(update={"share": source.share * left}) for source in own), *added]


def _mixes(path: Path) -> dict[str, list[CuratedSource]]:
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise InputError("is not a mapping of mixes", where=Where(path, 1), fix="write `stage: [sources]`")
    mixes: dict[str, list[CuratedSource]] = {}
    for name, entries in data.items():
        if not isinstance(entries, list):
            raise InputError(f"the mix `{name}` is no list of sources", where=Where(path, lines.get(name)))
        mixes[name] = [
            checked(CuratedSource, entry, place_in(lines, path), prefix=f"{name}.{number}")
            for number, entry in enumerate(entries)
        ]
    return mixes


def _sums_to_one(name: str, sources: list[CuratedSource], path: Path) -> None:
    total = sum(source.share for source in sources)
    if sources and abs(total - 1) > 1e-6:
        raise InputError(f"the shares of the curated mix `{name}` sum to {total:.4g}, not 1", where=Where(path))
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise InputError(f"the curated mix `{name}` has two sources of one name", where=Where(path))
