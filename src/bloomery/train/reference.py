"""What the start says of the answers that a run compares: log-probabilities, worked out once, kept in the run folder.

    reference/    logp.safetensors under a manifest with its sha256; about = {"start", "precision"}

A row is found again by its tokens, so that it makes no difference in which step, epoch or arm it comes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import building_folder, verify_folder
from bloomery.core.rows import Floats, TokenRow
from bloomery.train.batch import make_micro_batch, split_step
from bloomery.train.module import TrainModule
from bloomery.train.parallel import World

FILE = "logp.safetensors"
COMPARED = ("pref", "kl")
"""Parts of the loss that a reference is for."""

AT_ONCE = 4096
"""Rows that are read and packed together."""


class Reference:
    """Log-probabilities by row: `of(row)` gives float32[T], 0 where nothing is compared."""

    def __init__(self, keys: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64], logp: Floats) -> None:
        """`keys` name the rows, `counts` say how many values of `logp` each has, in this order."""
        starts = np.cumsum(counts) - counts
        self._place = dict(zip(keys.tolist(), zip(starts.tolist(), counts.tolist(), strict=True), strict=True))
        self._logp = logp

    def of(self, row: TokenRow) -> Floats:
        """The start's log-probability of each token that is compared. Raises `DamagedError` for an unknown row."""
        at = compared(row)
        start, count = self._place.get(row_key(row), (0, -1))
        if count != len(at):
            raise DamagedError(
                f"the reference has no row `{row.row_id}`: the data changed since it was made",
                fix="restore the data as it was, or start a new run",
            )
        found = np.zeros(len(row), np.float32)
        found[at] = self._logp[start : start + count]
        return found

    def refer(self, row: TokenRow) -> TokenRow:
        """The row with its reference; a row that compares nothing as it is."""
        return replace(row, logp_ref=self.of(row)) if is_compared(row) else row


def is_compared(row: TokenRow) -> bool:
    """Whether a row needs a reference."""
    return any(part in row.weight for part in COMPARED)


def compared(row: TokenRow) -> npt.NDArray[np.int64]:
    """Positions of the tokens that are compared, int64[n]."""
    return np.flatnonzero(np.logical_or.reduce([weight != 0 for weight in _compared_parts(row).values()]))


def _compared_parts(row: TokenRow) -> dict[str, Floats]:
    return {part: row.weight[part] for part in COMPARED if part in row.weight}


def row_key(row: TokenRow) -> int:
    """64-bit hash of a row's tokens and of which are compared."""
    said = row.ids.astype("<i4").tobytes() + b"|" + compared(row).astype("<i8").tobytes()
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")


def open_reference(folder: Path, start: str) -> Reference | None:
    """The reference in `folder`, every byte verified; None where there is none.

    Raises `DamagedError` where bytes changed, `InputError` where it was made by another start.
    """
    if not folder.exists():
        return None
    try:
        about = verify_folder(folder)
    except DamagedError as error:
        fix = f"delete {folder}; the start works it out again"
        raise DamagedError(error.message, where=error.where, fix=fix) from None
    if about["start"] != start:
        raise InputError(
            "the model that this run started from has changed since: its answers are compared with another's",
            where=Where(folder),
            fix="restore the start as it was, or start a new run",
        )
    held = load_file(folder / FILE)
    return Reference(held["keys"], held["counts"], held["logp"])


def make_reference(
    folder: Path,
    start: str,
    rows: Iterable[TokenRow],
    module: TrainModule,
    micro_tokens: int,
    world: World,
    say: Callable[[int], None] = lambda done: None,
) -> Reference:
    """Work out the reference of `rows` (each at most once) with the weights that `module` has, and publish it.

    The forward is training's, packed, in its precision, without dropout or gradient. `say(rows done)` is called as it
    goes on. The first process writes; all of them hold the same values.
    """
    unique: dict[int, int] = {}
    pieces, stream, done = [np.empty(0, np.float32)], _new(rows, unique), 0
    while some := list(islice(stream, AT_ONCE)):
        pieces.append(_logp(module, some, micro_tokens, world))
        done += len(some)
        say(done)
    keys, counts = np.array(list(unique), np.uint64), np.array(list(unique.values()), np.int64)
    logp = np.concatenate(pieces)
    if world.first:
        for left in folder.parent.glob(f".{folder.name}.*.building"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        with building_folder(folder, {"start": start, "rows": len(keys)}) as building:
            save_file({"keys": keys, "counts": counts, "logp": logp}, building / FILE)
    world.barrier()
    return Reference(keys, counts, logp)


def _new(rows: Iterable[TokenRow], unique: dict[int, int]) -> Iterable[TokenRow]:
    for row in rows:
        if is_compared(row) and (key := row_key(row)) not in unique:
            unique[key] = len(compared(row))
            yield row


@torch.no_grad()
def _logp(module: TrainModule, rows: Sequence[TokenRow], micro_tokens: int, world: World) -> Floats:
    """Log-probabilities of the compared tokens of all rows, one after the other, float32."""
    counts = [len(compared(row)) for row in rows]
    ends = np.cumsum(counts)
    found = torch.zeros(int(ends[-1]), device=world.device)
    was_training = module.training
    module.eval()
    alone = [replace(row, group_id=None, weight=_compared_parts(row)) for row in rows]
    for chosen in split_step(alone, micro_tokens, world.size, module.packing)[world.rank]:
        batch = make_micro_batch([alone[i] for i in chosen], world.device, module.packing, alone[0])
        logp, _ = module.score(batch)
        if chosen:  # rows lie in the batch in order; what rounding adds stands behind them
            at = np.concatenate([np.arange(ends[i] - counts[i], ends[i]) for i in chosen])
            found[torch.from_numpy(at).to(world.device)] = logp[: len(at)].float()
    module.train(was_training)
    return world.total(found).cpu().numpy()
