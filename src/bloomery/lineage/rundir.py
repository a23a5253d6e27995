"""Run folders: one folder a run, the only truth about it.

    recipe.yaml  plan.json  events.jsonl  data-receipt.json  checkpoints/  model/  report.json  report.md  report.html

A name is used once for ever in its root, one process at a time writes into a folder, and whatever would stop a run from
writing (permissions, a full disk) is said before it starts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bloomery.core.errors import BloomeryError, DamagedError, InputError, Where
from bloomery.core.events import EventLog
from bloomery.core.files import MANIFEST, lock, sweep_unfinished, sync_dir, write_bytes, write_text

NAMES = ".names"
"""File in the root that lists every name ever given, one a line."""

_LOCK = ".lock"
_BEGUN = ".recipe.yaml"  # as the run was begun, to tell whether somebody edited the one that people see
_ROOT_LOCK = ".lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_PATIENCE = 100
_PROBE_BYTES = 1 << 16
_RUN_BYTES = 1 << 22  # recipe, plan, log and reports of a small run; checkpoints are checked by the loop


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run. Making the object touches no file; `create` and `open` do."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str, *, recipe: str) -> RunFolder:
        """Make `root/name` with the recipe's text in it.

        Raises `InputError` when the name is not a plain file name, was ever used under `root`, or when `root`
        cannot be written to or has no room; then nothing is left behind.
        """
        check_name(name)
        folder = root / name
        try:
            root.mkdir(parents=True, exist_ok=True)
            with _naming(root) as taken:
                if name.casefold() in taken:
                    raise _used(root, name, taken)
                _claim(folder, recipe)
                _remember(root, name)
        except OSError as error:
            raise _unwritable(root, error) from None
        return cls(folder)

    @classmethod
    def at(cls, path: Path, *, recipe: str) -> RunFolder:
        """Make a run folder at a place of the user's own, and leave nothing beside it.

        Its name is not remembered: only that nothing is there yet counts. Raises `InputError` as `create` does.
        """
        check_name(path.name)
        if path.exists():
            raise InputError("exists already", where=Where(path), fix="choose another folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _claim(path, recipe)
        except OSError as error:
            raise _unwritable(path.parent, error) from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises `InputError` when the folder does not hold one."""
        if not (path / "recipe.yaml").is_file():
            said = "is not a run folder: it has no recipe.yaml" if path.is_dir() else "is not there"
            raise InputError(said, where=Where(path), fix="see `bloomery runs`")
        return cls(path)

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.path.name

    @property
    def recipe(self) -> Path:
        """The recipe as the user wrote it."""
        return self.path / "recipe.yaml"

    @property
    def plan(self) -> Path:
        """Every value the run used, and where each came from."""
        return self.path / "plan.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def receipt(self) -> Path:
        """What was read, kept, dropped, cut and trained on."""
        return self.path / "data-receipt.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, `step-XXXXXXXX` each."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The exported model: an ordinary Hugging Face folder."""
        return self.path / "model"

    def report(self, kind: str = "json") -> Path:
        """The report as `json`, `md` or `html`."""
        return self.path / f"report.{kind}"

    @contextlib.contextmanager
    def writing(self) -> Iterator[EventLog]:
        """Hold the folder as its only writer and yield its event log; a second writer gets a `BloomeryError`.

        What a killed writer left half written is removed first. When the first writer ever is refused (bad input, a
        damaged file, no permission, no room) before anything was published in the folder or below it, the folder goes
        and its name is free.
        """
        self._refuse_edited()
        with lock(self.path / _LOCK, f"run `{self.name}`"):
            first = not self.events.exists()
            for place in (self.path, self.path / "eval", *(self.path / "arms").glob("*")):
                sweep_unfinished(place)
            if first:
                write_bytes(self.path / _BEGUN, self.recipe.read_bytes())
            log = EventLog(self.events)
            try:
                yield log
                log.sync()
            except (InputError, DamagedError, OSError):
                if first and not any(self.path.rglob(MANIFEST)):
                    self._discard()
                raise
            finally:
                log.close()

    def _refuse_edited(self) -> None:
        """A run goes on by the plan that it was begun with, so a recipe edited since would change nothing but be shown.

        Folders of older versions have no copy to compare with.
        """
        begun = self.path / _BEGUN
        if begun.is_file() and begun.read_bytes() != self.recipe.read_bytes():
            raise InputError(
                "was edited after this run began, and a run goes on as it was begun",
                where=Where(self.recipe),
                fix=f"start a new run from it (`bloomery run {self.recipe} name=NEW`), or take the edit back: "
                f"`cp {begun} {self.recipe}`",
            )

    def _discard(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        names = self.path.parent / NAMES
        if not names.is_file():
            return
        with _naming(self.path.parent):
            kept = [name for name in names.read_text(encoding="utf-8").split() if name != self.name]
            write_text(names, "".join(f"{name}\n" for name in kept))

    def in_use(self) -> bool:
        """Whether a process is writing into the folder now."""
        import fcntl

        if not (self.path / _LOCK).is_file():
            return False
        with open(self.path / _LOCK) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def check_name(name: str) -> None:
    """Raise `InputError` unless `name` is safe as a folder name and a command line argument everywhere."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"`name: {name}` cannot name a run",
            fix="use up to 80 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
        )


def free_name(root: Path, stem: str) -> str:
    """`stem`, or `stem-2`, `stem-3`, ... : the first that was never used under `root`."""
    taken, number = _taken(root), 1
    while (name := stem if number == 1 else f"{stem}-{number}").casefold() in taken:
        number += 1
    return name


def run_folders(root: Path) -> list[RunFolder]:
    """All runs directly under `root`, by name; other folders there are passed over."""
    if not root.is_dir():
        return []
    found = (path for path in root.iterdir() if not path.name.startswith(".") and (path / "recipe.yaml").is_file())
    return [RunFolder(path) for path in sorted(found)]


@contextlib.contextmanager
def _naming(root: Path) -> Iterator[set[str]]:
    with contextlib.ExitStack() as stack:
        for _ in range(_PATIENCE):
            try:
                stack.enter_context(lock(root / _ROOT_LOCK, f"the run root {root}"))
                break
            except BloomeryError:  # somebody else is naming a run, which takes milliseconds
                time.sleep(0.05)
        else:
            stack.enter_context(lock(root / _ROOT_LOCK, f"the run root {root}"))
        yield _taken(root)


def _taken(root: Path) -> set[str]:
    """Names in use or used once, folded, since some file systems ignore case."""
    listed = (root / NAMES).read_text(encoding="utf-8").split() if (root / NAMES).is_file() else []
    present = [path.name for path in root.iterdir()] if root.is_dir() else []
    return {name.casefold() for name in [*listed, *present]}


def _remember(root: Path, name: str) -> None:
    with open(root / NAMES, "a", encoding="utf-8") as file:
        file.write(name + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_dir(root)


def _claim(folder: Path, recipe: str) -> None:
    """Make the folder, prove that it takes writes, and put the recipe in; undone when any of it fails."""
    free = shutil.disk_usage(folder.parent).free
    if free < _RUN_BYTES:
        raise OSError(errno.ENOSPC, f"{free / 1e6:.1f} MB are free")
    folder.mkdir()
    try:
        probe = folder / ".probe"
        write_text(probe, "x" * _PROBE_BYTES)
        probe.unlink()
        write_text(folder / "recipe.yaml", recipe)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _used(root: Path, name: str, taken: set[str]) -> InputError:
    number = 2
    while f"{name}-{number}".casefold() in taken:
        number += 1
    return InputError(
        f"`name: {name}` was used before, and names are never reused",
        where=Where(root / name),
        fix=f"`bloomery resume {name}` to go on with it, or `name={name}-{number}` for a new run",
    )


def _unwritable(root: Path, error: OSError) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"the disk is full: {error.strerror}", where=Where(root), fix="free some space, or choose another folder"
        )
    reason = error.strerror or str(error)
    return InputError(f"cannot be written to: {reason}", where=Where(root), fix="choose a folder that you may write to")
