"""The index over run folders: SQLite, for speed only. Delete it and it comes back; the folders are the truth."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bloomery.core.errors import InputError, Where, nearest
from bloomery.core.files import MANIFEST, read_json
from bloomery.lineage.parents import Made, made_models, read_made
from bloomery.lineage.provenance import Start
from bloomery.lineage.record import DAMAGE, RunRecord, read_run, read_start
from bloomery.lineage.rundir import NAMES, RunFolder, run_folders

FILE = ".index.sqlite"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """An exported model and the chain of what it was made from, nearest first, outside start last.

    One made of several models names them as `parents`; its ancestry has all that they were made from.
    """

    name: str
    path: str
    sha256: str
    ancestry: tuple[str, ...]
    parents: tuple[str, ...] = ()


def runs(root: Path) -> list[RunRecord]:
    """All runs under `root`, newest first."""
    with contextlib.closing(_refreshed(root)) as index:
        found = [_decode(row[0]) for row in index.execute("select record from runs")]
    return sorted((_live(record) for record in found), key=lambda r: (-(r.created or 0.0), r.name))


def show(root: Path, name: str) -> RunRecord:
    """One run by name, or by its folder wherever that lies. Raises `InputError` with the nearest name for neither."""
    found = {record.name: record for record in runs(root)}
    folder = Path(name).resolve()
    if name not in found and (folder / "recipe.yaml").is_file():
        return {record.name: record for record in runs(folder.parent)}[folder.name]
    if name not in found:
        raise InputError(f"there is no run `{name}`{nearest(name, found)}", where=Where(root))
    return found[name]


def models(root: Path) -> list[ModelRecord]:
    """All exported models under `root`, newest run first, then those made of several others."""
    found = runs(root)
    known = {record.name: record for record in found}
    exported = [
        ModelRecord(record.name, str(Path(record.path) / "model"), record.model_sha256, _chain(record, known))
        for record in found
        if record.model_sha256
    ]
    return exported + [
        ModelRecord(made.name, str(made.path), made.sha256, _above(made, known), tuple(p.name for p in made.parents))
        for made in made_models(root)
    ]


def ancestry(root: Path, name: str) -> tuple[str, ...]:
    """What a run was made from: names of runs, nearest first, then the `start` outside this root."""
    record = show(root, name)
    return _chain(record, {other.name: other for other in runs(root)})


def who_starts_from(root: Path, checkpoint: Path) -> list[str]:
    """Names of the runs that start from a checkpoint or model folder, or from something inside it, and of the models
    that were made of it among others.

    Reads the folders, not the index: retention asks this before it removes anything. A run whose log cannot
    be read counts as starting from everything.
    """
    place = checkpoint.resolve()
    begun = [folder.name for folder in run_folders(root) if _starts_inside(folder, place)]
    manifests = [path for path in (place / MANIFEST, place / "model" / MANIFEST) if path.is_file()]
    hashes = {read_json(path)["self"] for path in manifests}
    return begun + [made.name for made in made_models(root) if any(p.sha256 in hashes for p in made.parents)]


def _starts_inside(folder: RunFolder, place: Path) -> bool:
    try:
        start = read_start(folder)
    except DAMAGE:
        return True
    return bool(start and start.path and (Path(start.path) == place or place in Path(start.path).parents))


def rebuild(root: Path) -> int:
    """Throw the index away, read every folder again, and return how many runs there are."""
    _remove(root)
    return len(runs(root))


def _refreshed(root: Path) -> sqlite3.Connection:
    """An index that agrees with the folders now: on disk in a root of runs, in memory where that takes none."""
    if not (root / NAMES).is_file():
        return _filled(":memory:", root)  # a folder of the user's own, in which a run may lie: nothing is put there
    try:
        return _filled(str(root / FILE), root)
    except sqlite3.OperationalError:  # read-only, no room, or busy beyond patience
        return _filled(":memory:", root)
    except sqlite3.DatabaseError:  # damaged: nothing in it is worth more than reading the folders again
        _remove(root)
        return _filled(str(root / FILE), root)


def _filled(path: str, root: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=10)
    try:
        index.execute("pragma journal_mode = wal")
        index.execute("pragma synchronous = full")
        if index.execute("pragma user_version").fetchone()[0] != _VERSION:
            index.execute("drop table if exists runs")
            index.execute("create table runs (name text primary key, stamp text not null, record text not null)")
            index.execute(f"pragma user_version = {_VERSION}")
        _refresh(index, root)
    except BaseException:
        index.close()
        raise
    return index


def _remove(root: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (root / (FILE + suffix)).unlink(missing_ok=True)


def _refresh(index: sqlite3.Connection, root: Path) -> None:
    """Read again only the folders whose files changed since; forget those that are gone."""
    known = dict(index.execute("select name, stamp from runs"))
    present = {folder.name: folder for folder in run_folders(root)}
    with index:
        index.executemany("delete from runs where name = ?", [(name,) for name in known if name not in present])
        for name, folder in present.items():
            stamp = _stamp(folder)
            if known.get(name) != stamp:
                row = (name, stamp, json.dumps(asdict(read_run(folder))))
                index.execute("insert or replace into runs values (?, ?, ?)", row)


def _decode(text: str) -> RunRecord:
    fields = json.loads(text)
    start = fields.pop("start")
    return RunRecord(**fields, start=Start(**start) if start else None)


def _stamp(folder: RunFolder) -> str:
    """Changes whenever a file that the record is read from does."""
    stats = []
    for path in (folder.events, folder.report("json"), folder.model / "manifest.json"):
        found = path.stat() if path.is_file() else None
        stats.append(f"{found.st_mtime_ns}:{found.st_size}" if found else "-")
    return f"{folder.path.resolve()}|" + "|".join(stats)


def _live(record: RunRecord) -> RunRecord:
    """Whether a run is going on now is asked of its lock, never remembered."""
    if record.status in ("new", "interrupted") and RunFolder(Path(record.path)).in_use():
        return replace(record, status="running")
    return record


def _chain(record: RunRecord, known: dict[str, RunRecord]) -> tuple[str, ...]:
    names: list[str] = []
    here: RunRecord | None = record
    while here and here.start:
        parent = known.get(here.start.run or "")
        if parent is None or not _made(parent, here.start):
            parent = _earlier_step(here)
        if parent is None or parent.name in names:
            names.append(here.start.ref)
            made = read_made(Path(here.start.path)) if here.start.path else None
            names += _above(made, known) if made else ()
            break
        names.append(parent.name)
        here = parent
    return tuple(names)


def _above(made: Made, known: dict[str, RunRecord]) -> tuple[str, ...]:
    """The parents of a model made of several, then what each of them was made from; every name once."""
    names = [parent.name for parent in made.parents]
    for parent in made.parents:
        record = known.get(parent.run or "")
        if record is not None and record.model_sha256 == parent.sha256:
            names += _chain(record, known)
    return tuple(dict.fromkeys(names))


def _earlier_step(record: RunRecord) -> RunRecord | None:
    """The training of its own pipeline that a run starts from: a run folder inside its folder."""
    start, folder = record.start, Path(record.path)
    above = Path(start.path).parents if start and start.path else ()
    owner = next((path for path in above if folder in path.parents and (path / "recipe.yaml").is_file()), None)
    return read_run(RunFolder(owner)) if owner else None


def _made(run: RunRecord, start: Start) -> bool:
    """Whether `start` is really of this run, not of a namesake under another root."""
    inside = start.path is not None and Path(run.path) in Path(start.path).parents
    return inside or run.model_sha256 == start.sha256
