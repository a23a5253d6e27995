"""Running requests of an architecture that attends through us: their places, prompts in chunks, shared beginnings."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bloomery.engine.adapters import Adapters
from bloomery.engine.ragged import Forward, Part, Prefill, decode_part, prefill_part
from bloomery.engine.recorder import recorded
from bloomery.engine.running import Running
from bloomery.engine.slots import Shape, Slot, Slots
from bloomery.models.head import Head, raw_logits

CHUNK = 512
"""Prompt tokens read in one step beside the answers that go on, so that a long prompt does not hold these up."""
SHARED = 16
"""Equal first tokens from which a prompt takes over the keys and values of another instead of reading them again."""
KEPT = 128
"""Equal first tokens from which they are kept once and not copied. Of 64 answers in groups of 8, 64 tokens each, 8.5M
weights: 4.1 s copied and 2.3 s kept after prompts of 512 tokens, no difference after 64."""
RESTS = 64
"""Tokens from which a row rests: to change places with one that answers takes it as long as ten tokens take to read. Of
1,000 short arrivals a second 116 to 136 were answered where every row rested, 172 to 183 are where none does."""


class RaggedBatch:
    """A `Backend` over one module tree; `rows` and `budget` (bytes of keys and values) bound it.

    Where it is to `keep` them, requests that have ended rest in their rows until the place is needed: the next turn of
    a conversation goes on from there. Whoever changes the weights has to `forget` them.
    """

    def __init__(
        self, model: nn.Module, forward: Forward, head: Head, adapters: Adapters, rows: int, budget: int,
        keep: bool = False,
    ) -> None:  # fmt: skip
        self.forward, self.head, self.adapters, self.rows, self.chunk = forward, head, adapters, rows, CHUNK
        self.keep = keep
        self.device = next(model.parameters()).device
        shapes = {layer: Shape(*shape) for layer, shape in recorded(model).shapes.items()}
        self.slots = Slots(shapes, budget, self.device)
        self.running: list[Running] = []
        self._resting: list[Running] = []
        """What has ended and is kept, by the ids in its row; the one that ended last comes last."""
        self._beginnings: dict[tuple[str, bytes], list[Running]] = {}
        self._awaited: set[int] = set()
        self._leaving: list[Running] = []
        self._outdated: set[int] = set()
        """Requests that had begun when the weights changed."""
        self._begun: list[Running] = []
        """Whose prompts were read by others, up to the last token: the next step tells their first one."""

    def fits(self, tokens: int) -> bool:
        """Whether so many tokens of one request can be held at all."""
        return self.slots.fits(tokens)

    @property
    def resting(self) -> int:
        """Bytes of keys and values that nothing running has a part in."""
        rests = {slot for one in [*self._resting] if (slot := one.slot) is not None}
        alone = [one for one, n in Counter(slot.beginning for slot in rests).items() if one and n == one.users]
        return sum(slot.slab.size for slot in (*rests, *alone)) * self.slots.token_bytes

    def admit(self, waiting: deque[Running]) -> None:
        """Give places in the order of coming. A prompt that begins as one being read waits until that is read."""
        self._fill(waiting)
        if self._leaving:
            for request in self._leaving:
                self._leave(request)
            self._leaving = []
            self._fill(waiting)

    def drop(self, request: Running) -> None:
        """Free a request's place; after the next `admit` where others wait to take over its beginning."""
        self.running.remove(request)
        if id(request) in self._awaited:
            self._leaving.append(request)
        else:
            self._leave(request)

    @torch.inference_mode()
    def forget(self) -> None:
        """Free what rests, and let nobody go on from what runs: it goes on with what it has, and is free at its end."""
        for request in sorted(self._resting, key=lambda one: -_slot(one).row):  # no row then moves into a hole
            self._free(request)
        self._resting.clear()
        self._outdated |= {id(request) for request in (*self.running, *self._leaving)}
        self._beginnings.clear()

    def _fill(self, waiting: deque[Running]) -> None:
        put_off: list[Running] = []
        self._awaited.clear()
        while waiting and len(self.running) < self.rows:
            request = waiting[0]
            donor, shared = self._donor(request)
            if donor is not None and _slot(donor).past < shared:
                self._awaited.add(id(donor))
                put_off.append(waiting.popleft())
            elif self._place(request, donor, shared):
                waiting.popleft()
                request.start()
                self.running.append(request)
                self._beginnings.setdefault(_beginning(request), []).append(request)
            elif donor not in self._resting:
                break
            else:  # its room is needed: once more without it
                self._resting.remove(donor)
                self._free(donor)
        waiting.extendleft(reversed(put_off))

    def _place(self, request: Running, donor: Running | None, shared: int) -> bool:
        """Give a request a row with what it takes over from a donor; False while there is no room."""
        slot = self._inherited(request, donor, shared) or self._row(request, donor, shared)
        if slot is None:
            return False
        slot.owner, request.slot = request, slot
        if donor is not None and slot.past == len(request.prompt):
            request.opening = donor.opening
            self._begun.append(request)
        elif donor is not None and slot.past == len(request.prompt) - 1:
            self.slots.ready(slot)  # its last token is read as answers are: one a step, with all others
        return True

    def _inherited(self, request: Running, donor: Running | None, shared: int) -> Slot | None:
        """The row of a donor that rests, where the request goes on with most of it and there is room for the rest."""
        if donor not in self._resting:
            return None
        slot = _slot(donor)
        if 2 * shared < slot.past or len(request.prompt) + request.limit > slot.slab.size + min(slot.skipped, shared):
            return None
        self._resting.remove(donor)
        self._forget(donor)
        self.slots.cut(slot, shared)
        return slot

    def _row(self, request: Running, donor: Running | None, shared: int) -> Slot | None:
        """A row of its own, with the donor's first tokens before or in it."""
        while self._resting and len(self.running) + len(self._resting) >= self.rows and self._resting[0] is not donor:
            self._free(self._resting.pop(0))
        tokens = len(request.prompt) + request.limit
        if donor is not None and shared >= KEPT and (slot := self._taken(tokens - shared, donor)) is not None:
            beginning = self._beginning(donor, shared)
            if beginning is not None:
                self.slots.go_on(slot, beginning, shared)
                return slot
            self.slots.give(slot)
        slot = self._taken(tokens, donor)
        if slot is not None and donor is not None:
            self.slots.repeat(_slot(donor), slot, shared)
        return slot

    def _taken(self, tokens: int, donor: Running | None) -> Slot | None:
        """A row, if need be of what rests longest, but for the donor."""
        slot = self.slots.take(tokens)
        while slot is None and self._resting and self._resting[0] is not donor:
            self._free(self._resting.pop(0))
            slot = self.slots.take(tokens)
        return slot

    def _beginning(self, donor: Running, shared: int) -> Slot | None:
        """The first tokens of a running request where others can go on from them; it goes on from there too."""
        slot = _slot(donor)
        beginning = self.slots.begin(slot, shared)
        if beginning is not None and beginning is not slot.beginning:
            room = len(donor.prompt) - shared + donor.limit
            donor.slot = self.slots.shorten(slot, beginning, shared, room)
        return beginning

    def _leave(self, request: Running) -> None:
        """A request's end: its row rests or is free."""
        slot = _slot(request)
        if not self.keep or request.cancelled or slot.past < RESTS or id(request) in self._outdated:
            self._free(request)
            return
        if slot.row < slot.slab.ready:
            self.slots.rest(slot)
        self._forget(request)
        read = np.concatenate([request.prompt, request.ids])[: slot.past]
        kept = Running(replace(request.request, prompt=read.tolist()), lambda _: None, 0, frozenset())
        kept.slot, request.slot = slot, None
        self._resting.append(kept)
        self._beginnings.setdefault(_beginning(kept), []).append(kept)

    def _free(self, request: Running) -> None:
        self.slots.give(_slot(request))
        request.slot = None
        self._forget(request)

    def _forget(self, request: Running) -> None:
        """Nobody goes on from it any more."""
        if id(request) in self._outdated:
            self._outdated.remove(id(request))
            return
        alike = self._beginnings[_beginning(request)]
        alike.remove(request)
        if not alike:
            del self._beginnings[_beginning(request)]

    def advance(self) -> tuple[list[Running], Tensor]:
        """One forward: a token of every row that answers, and the next chunks of prompts."""
        begun, self._begun = self._begun, []
        parts, ids, owners = self._answering()
        wanted = list(range(len(ids)))
        reading = self._reading(parts, ids, owners, wanted)
        told, found = [owners[i] for i in wanted], [self._logits(parts, ids, owners, wanted)] if parts else []
        for request in told:
            if request.opening is None and id(request) in self._awaited and not request.ids:
                request.opening = found[0][told.index(request)].clone()
        found += [request.opening[None] for request in begun if request.opening is not None]
        self._read(parts, reading, begun)
        return told + begun, torch.cat(found) if begun else found[0]

    def _logits(self, parts: list[Part], ids: list[int], owners: list[Running], wanted: list[int]) -> Tensor:
        """Logits [n, V] after the wanted ones of the step's tokens."""
        positions = [part.positions for part in parts]
        self.adapters.activate([owner.request.adapter for owner in owners] if self.adapters.names else [])
        at = torch.tensor(ids, dtype=torch.long, device=self.device)
        try:
            hidden = self.forward(at, positions[0] if len(parts) == 1 else torch.cat(positions), parts)
        finally:  # texts that are scored or embedded after a step that failed are not its requests'
            self.adapters.activate([])
        if len(wanted) < len(ids):
            hidden = hidden[torch.tensor(wanted, dtype=torch.long, device=self.device)]
        return raw_logits(hidden, self.head)

    def _answering(self) -> tuple[list[Part], list[int], list[Running]]:
        """(parts, last tokens, requests) of the rows that answer, slab by slab."""
        slabs = [slab for slab in self.slots.slabs if slab.ready and not slab.shared]
        parts: list[Part] = [decode_part(slab, self.device) for slab in slabs]
        owners: list[Running] = [slot.owner for slab in slabs for slot in slab.live[: slab.ready]]
        return parts, [owner.ids[-1] if owner.ids else int(owner.prompt[-1]) for owner in owners], owners

    def _reading(
        self, parts: list[Part], ids: list[int], owners: list[Running], wanted: list[int]
    ) -> list[tuple[Running, int]]:
        """Add the next chunks of prompts to the step, in the order of coming; the last token of a prompt is wanted.

        Returns the requests and how many of their tokens are read.
        """
        left, reading, last = self.chunk, list[tuple[Running, int]](), None
        for request in self.running:
            slot = _slot(request)
            todo = len(request.prompt) - slot.past
            if slot.row < slot.slab.ready or not left or not todo:
                continue
            count = min(left, todo)
            left -= count
            if last is None or not last.joined(slot, count):
                last = prefill_part(slot, count, self.device)
                parts.append(last)
            ids += request.prompt[slot.past : slot.past + count].tolist()
            owners += [request] * count
            if count == todo:
                wanted.append(len(ids) - 1)
            reading.append((request, count))
        return reading

    def _read(self, parts: list[Part], reading: list[tuple[Running, int]], begun: list[Running]) -> None:
        """What the step wrote counts as there; read prompts join those that answer."""
        for part in (part for part in parts if not isinstance(part, Prefill)):
            for slot in part.slab.live[: part.count]:
                slot.length += 1
        for request, count in reading:
            _slot(request).length += count
        slots = [request.slot for request in (*(request for request, _ in reading), *begun) if request.slot is not None]
        for slot in sorted(slots, key=lambda slot: slot.row):  # in the order of rows, so that few change places
            if slot.past == len(slot.owner.prompt):
                self.slots.ready(slot)

    def _donor(self, request: Running) -> tuple[Running | None, int]:
        """(who begins alike, tokens to take over); the prompt's last is read anew where nobody has the logits after."""
        best: Running | None = None
        shared, alike = SHARED - 1, self._beginnings.get(_beginning(request), ())
        for other in (other for other in alike if other.opening is not None):
            if np.array_equal(other.prompt, request.prompt):
                return other, len(request.prompt)
        for other in alike:
            if shared == len(request.prompt) - 1:
                break
            most = min(len(request.prompt) - 1, len(other.prompt))
            differ = np.flatnonzero(request.prompt[:most] != other.prompt[:most])
            same = int(differ[0]) if len(differ) else most
            if same > shared:
                best, shared = other, same
        return best, shared if best is not None else 0


def _beginning(request: Running) -> tuple[str, bytes]:
    return request.request.adapter, request.prompt[:SHARED].tobytes()


def _slot(request: Running) -> Slot:
    assert request.slot is not None
    return request.slot
