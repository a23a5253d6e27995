"""What the start says of held-out rows, kept in the run folder, and how far the model has moved from it.

    anchor/    anchor.safetensors under a manifest with its sha256; about = {"start", "rows"}

Of the start are kept: the log-probability of every target, and at the rows whose drift is followed its likeliest tokens
at each position. The KL from start to model is taken over these and all the rest together as one more outcome: merging
outcomes never raises a divergence (data processing), so it is a lower bound, and no second model is needed for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file

from bloomery.core.errors import DamagedError, InputError, Where
from bloomery.core.files import building_folder, sweep_unfinished, verify_folder
from bloomery.core.rows import TokenRow
from bloomery.train.batch import make_micro_batch, split_step
from bloomery.train.module import TrainModule
from bloomery.train.parallel import World

FILE = "anchor.safetensors"
LEADING = 64
"""Tokens of the start's kept at each position."""
POSITIONS = 65_536
"""Positions, at most, at which the drift is followed: 34 MB."""

Floats64 = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a model has moved on one set of rows: nats by document [n] at the start and now."""

    before: Floats64
    after: Floats64

    @property
    def rise(self) -> float:
        """Relative rise of the loss over all documents."""
        return float(self.after.sum() / self.before.sum() - 1)

    @property
    def noise(self) -> float:
        """Standard error of `rise` over documents, each paired with itself; infinite for fewer than two."""
        n = len(self.before)
        if n < 2:
            return float("inf")
        apart = self.after - (1 + self.rise) * self.before
        return float(np.sqrt((apart**2).sum() * n / (n - 1)) / self.before.sum())


class Anchor:
    """The start on several sets of rows, by name; the drift is followed on the first."""

    def __init__(self, sets: Mapping[str, Sequence[TokenRow]], start: Arrays) -> None:
        """`start` holds `logp` [targets of all sets], `ids` and `leading` [positions followed, k]."""
        self._sets, self._start = dict(sets), start

    def moved(self, module: TrainModule, micro_tokens: int, world: World) -> tuple[dict[str, Moved], float]:
        """(how far each set has moved, mean KL from start to model at the positions followed, in nats)."""
        rows = [row for rows in self._sets.values() for row in rows]
        ids = self._start["ids"]
        now = _ask(module, rows, ids, (len(ids), ids.shape[1]), micro_tokens, world)
        found, begin = {}, 0
        for name, own in self._sets.items():
            end = begin + sum(row.trained() for row in own)
            before, after = (by_document(own, -logp[begin:end]) for logp in (self._start["logp"], now["logp"]))
            found[name], begin = Moved(before, after), end
        return found, float(divergence(self._start["leading"], now["leading"]).mean())


def divergence(start: npt.NDArray[Any], now: npt.NDArray[Any]) -> Floats64:
    """KL in nats [n] from the start to the model, from log-probabilities [n, k] of both; the rest is one outcome."""
    p, q = (np.asarray(logp, np.float64) for logp in (start, now))
    rest_p, rest_q = (np.maximum(1 - np.exp(logp).sum(1), 1e-9) for logp in (p, q))
    found: Floats64 = (np.exp(p) * (p - q)).sum(1) + rest_p * np.log(rest_p / rest_q)
    return found


def by_document(rows: Sequence[TokenRow], nats: npt.NDArray[Any]) -> Floats64:
    """Sums [documents] of the nats of every target, over the rows that each document was cut to."""
    number = {name: i for i, name in enumerate(dict.fromkeys(row.example_id for row in rows))}
    at = np.repeat([number[row.example_id] for row in rows], [row.trained() for row in rows])
    return np.bincount(at, weights=nats.astype(np.float64), minlength=len(number)).astype(np.float64)


def anchor(
    folder: Path,
    start: str,
    sets: Mapping[str, Sequence[TokenRow]],
    module: TrainModule,
    micro_tokens: int,
    world: World,
) -> Anchor:
    """The anchor in `folder`, verified; worked out and published there where there is none, `module` being the start.

    Raises `DamagedError` where its bytes changed, `InputError` where it is of another start or other rows.
    """
    rows = [row for rows in sets.values() for row in rows]
    about = {"start": start, "rows": _fingerprint(rows)}
    there = world.share_text("there" if folder.exists() else "")
    if not there:
        first = next(iter(sets.values()))
        followed = min(POSITIONS, sum(row.trained() for row in first))
        made = _begin(module, rows, followed, micro_tokens, world)
        if world.first:
            sweep_unfinished(folder.parent)  # of a run that was killed
            with building_folder(folder, about) as building:
                save_file({**made, "ids": made["ids"].astype(np.int32)}, building / FILE)
        world.barrier()
    return Anchor(sets, _opened(folder, about))


def _opened(folder: Path, about: Mapping[str, str]) -> Arrays:
    try:
        saved = verify_folder(folder)
    except DamagedError as error:
        fix = f"delete {folder}; the start works it out again"
        raise DamagedError(error.message, where=error.where, fix=fix) from None
    if {key: saved[key] for key in about} != about:
        raise InputError(
            "the start or the held-out rows have changed since the run began to be held against them",
            where=Where(folder),
            fix="restore them as they were, or start a new run",
        )
    return dict(load_file(folder / FILE))


def _fingerprint(rows: Sequence[TokenRow]) -> str:
    found = hashlib.sha256()
    for row in rows:
        found.update(row.ids.astype("<i4").tobytes() + b"|" + (row.weight["ce"] != 0).tobytes() + b"\n")
    return found.hexdigest()


def _begin(module: TrainModule, rows: Sequence[TokenRow], followed: int, micro_tokens: int, world: World) -> Arrays:
    """The start's own answers: its likeliest tokens at the first `followed` positions."""
    width = min(LEADING, module.head.weight.shape[0])
    return _ask(module, rows, None, (followed, width), micro_tokens, world)


@torch.no_grad()
def _ask(
    module: TrainModule,
    rows: Sequence[TokenRow],
    ids: npt.NDArray[Any] | None,
    shape: tuple[int, int],
    micro_tokens: int,
    world: World,
) -> Arrays:
    """`logp` of every target of `rows` in order, then `ids` and `leading` [`shape`] at the first of them: of the ids
    given, or of the likeliest where they are None. The same on all processes."""
    ends = np.cumsum([row.trained() for row in rows])
    known = None if ids is None else torch.from_numpy(ids.astype(np.int64))
    logp, chosen, leading = torch.zeros(int(ends[-1])), torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
    was_training = module.training
    module.eval()
    for pack in split_step(rows, micro_tokens, world.size, module.packing)[world.rank]:
        batch = make_micro_batch([rows[i] for i in pack], world.device, module.packing, rows[0])
        at = torch.from_numpy(
            np.concatenate([np.arange(0), *(np.arange(ends[i - 1] if i else 0, ends[i]) for i in pack)])
        )
        inside = torch.zeros(len(batch.at), dtype=torch.bool)  # what rounding adds stands behind the rows' own
        inside[: len(at)] = at < shape[0]
        own, tokens, theirs = module.leading(batch, _wanted(known, at, inside, world), shape[1])
        logp[at] = own[: len(at)].cpu()
        followed = at[at < shape[0]]
        chosen[followed], leading[followed] = tokens.cpu()[inside], theirs.cpu()[inside]
    module.train(was_training)
    found = {"logp": logp, "ids": chosen, "leading": leading}
    return {name: world.total(values.to(world.device)).cpu().numpy() for name, values in found.items()}


def _wanted(known: torch.Tensor | None, at: torch.Tensor, inside: torch.Tensor, world: World) -> torch.Tensor | None:
    """The ids to ask for at each position of a micro-batch; token 0 at those that are not followed."""
    if known is None:
        return None
    wanted = torch.zeros(len(inside), known.shape[1], dtype=torch.int64)
    wanted[inside] = known[at[at < len(known)]]
    return wanted.to(world.device)
