"""Choosing the next token of many rows at once, each by its own settings.

Rows: B; vocabulary: V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bloomery.engine.protocol import Sampling

BLOCK = 256
"""Tokens whose probabilities are summed first: a draw then looks into one block, where sorting costs three times the
softmax."""
AT_ONCE = 1 << 17
"""Logits that are exponentiated at once."""
HEAD = 64
"""Most probable tokens looked at before all of them are sorted for top-k, top-p and min-p."""
COLDEST = 1e-30
"""A lower temperature is taken as this one, which is as good as greedy: logits over less are infinite in fp32."""

Ints = npt.NDArray[np.int64]


def choose(logits: Tensor, samplings: Sequence[Sampling], numbers: Ints, steps: Ints) -> tuple[Tensor, Tensor]:
    """logits [B, V] of any type -> (token int64[B], its log-probability fp32[B]).

    `numbers` and `steps` int64[B] are each row's number under its seed and its position in the answer. Greedy rows are
    scored at temperature 1.
    """
    heat = temperatures(samplings, logits.device)
    most, sums = _masses(logits, heat)
    normaliser = most + sums[:, -1].log().float()
    sampled = np.flatnonzero([sampling.temperature > 0 for sampling in samplings])
    greedy = len(sampled) < len(samplings)
    token = logits.argmax(-1) if greedy else torch.empty(len(samplings), dtype=torch.long, device=logits.device)
    limited = np.array([_limits(samplings[i]) for i in sampled.tolist()], np.int64)
    for cut in (0, 1):
        rows = sampled[limited == cut]
        if len(rows):
            own = [samplings[i] for i in rows.tolist()]
            u = uniform(np.array([s.seed & _WORD for s in own], np.uint64), numbers[rows], steps[rows])
            at = torch.from_numpy(rows).to(logits.device)
            scored = _Scored(logits, at, heat[at], most[at], normaliser[at])
            u = u.to(logits.device)
            token[at] = _draw_cut(scored, own, u) if cut else _draw(scored, sums[at], u)
    return token, logits.gather(1, token[:, None])[:, 0].float() / heat - normaliser


def temperatures(samplings: Sequence[Sampling], device: torch.device) -> Tensor:
    """fp32[B]: what logits are divided by; 1 for greedy rows."""
    heat = [max(sampling.temperature, COLDEST) if sampling.temperature else 1.0 for sampling in samplings]
    return torch.tensor(heat, dtype=torch.float32).to(device)


@dataclass(frozen=True, slots=True)
class _Scored:
    """Rows int64[r] of logits that are drawn from alike: their temperatures, greatest scores and normalisers [r]."""

    logits: Tensor
    rows: Tensor
    heat: Tensor
    most: Tensor
    normaliser: Tensor

    @property
    def scores(self) -> Tensor:
        """fp32[r, V]."""
        return self.logits[self.rows].float() / self.heat[:, None]

    def mass(self, block: Tensor) -> Tensor:
        """exp(score - greatest) fp64[r, BLOCK] in one block int64[r] of each row; 0 behind the last token."""
        at = block[:, None] * BLOCK + torch.arange(BLOCK, device=block.device)
        width = self.logits.shape[1]
        found = self.logits[self.rows[:, None], at.clamp(max=width - 1)].float() / self.heat[:, None]
        return torch.where(at < width, (found - self.most[:, None]).exp(), 0).double()


def _masses(logits: Tensor, heat: Tensor) -> tuple[Tensor, Tensor]:
    """(greatest score fp32[B], running sums of exp(score - greatest) by block fp64[B, N]).

    A few rows at a time, in one buffer that stays in the cache: 2 MB of fresh memory for each step are 2 MB of page
    faults, 0.7 ms for 64 rows of 8,192 on a quiet machine and ten times that on one short of memory.
    """
    rows, width = logits.shape
    count = -(-width // BLOCK)
    each = rows if logits.device.type != "cpu" else max(1, AT_ONCE // (count * BLOCK))
    buffer = torch.zeros(min(each, rows), count * BLOCK, device=logits.device)
    most, sums, heated = heat.new_empty(rows), heat.new_empty(rows, count), bool((heat != 1).any())
    for start in range(0, rows, each):
        part = slice(start, min(start + each, rows))
        scores = buffer[: part.stop - start, :width].copy_(logits[part])
        if heated:
            scores.div_(heat[part, None])
        torch.amax(scores, -1, out=most[part])
        scores.sub_(most[part, None]).exp_()
        torch.sum(buffer[: part.stop - start].view(-1, count, BLOCK), -1, out=sums[part])
    return most, sums.double().cumsum(-1)


def penalise(logits: Tensor, sampling: Sampling, prompt: Tensor, answer: Tensor) -> None:
    """Apply the penalties of one row to its logits fp32[V] in place, by ids int64[...] told so far."""
    if sampling.repetition_penalty != 1:
        told = torch.cat([prompt, answer]).unique()
        logits[told] = torch.where(
            logits[told] > 0, logits[told] / sampling.repetition_penalty, logits[told] * sampling.repetition_penalty
        )
    if (sampling.presence_penalty or sampling.frequency_penalty) and len(answer):
        told, counts = answer.unique(return_counts=True)
        logits[told] -= sampling.presence_penalty + sampling.frequency_penalty * counts


def penalises(sampling: Sampling) -> bool:
    """Whether `penalise` has anything to do."""
    return bool(sampling.repetition_penalty != 1 or sampling.presence_penalty or sampling.frequency_penalty)


def bias_of(sampling: Sampling) -> tuple[Tensor, Tensor] | None:
    """Ids int64[n] and what is added to their logits fp32[n]; None without a bias."""
    if not sampling.logit_bias:
        return None
    ids, bias = zip(*sampling.logit_bias, strict=True)
    return torch.tensor(ids), torch.tensor(bias, dtype=torch.float32)


def _limits(sampling: Sampling) -> bool:
    return sampling.top_p < 1 or sampling.top_k > 0 or sampling.min_p > 0


def _draw(scored: _Scored, sums: Tensor, u: Tensor) -> Tensor:
    """Inverse-CDF sampling among all tokens, in the order of their ids: first the block, then the token in it."""
    goal = u[:, None] * sums[:, -1:]
    block = torch.searchsorted(sums, goal, right=True).clamp(max=sums.shape[1] - 1)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0)
    inside = scored.mass(block[:, 0]).cumsum(-1)
    place = torch.searchsorted(inside, goal - before, right=True)[:, 0]
    # Rounding can put the goal behind the last token that has any probability: take that one.
    last = (inside < inside[:, -1:]).sum(-1)
    return block[:, 0] * BLOCK + torch.minimum(place, last)


def _draw_cut(scored: _Scored, samplings: Sequence[Sampling], u: Tensor) -> Tensor:
    """Inverse-CDF sampling among the tokens that top-k, top-p and min-p leave, most probable first."""
    scores = scored.scores
    width = scores.shape[-1]
    column = lambda values: torch.tensor(values, device=scores.device)[:, None]  # noqa: E731
    top_k = column([sampling.top_k or width for sampling in samplings])
    top_p = column([sampling.top_p for sampling in samplings]).double()
    min_p = column([sampling.min_p for sampling in samplings]).double()
    for count in dict.fromkeys((min(HEAD, width), width)):
        best, order = scores.topk(count, -1)
        p = (best - scored.normaliser[:, None]).double().exp()
        cumulative = p.cumsum(-1)
        # the token that reaches top_p is still among them
        kept = (cumulative - p < top_p) & (p >= min_p * p[:, :1])
        kept &= torch.arange(count, device=scores.device)[None] < top_k
        kept[:, 0] = True
        if not bool(kept[:, -1].any()) or count == width:
            break
    chosen = (p * kept).cumsum(-1)
    goal = u[:, None] * chosen[:, -1:]
    place = torch.searchsorted(chosen, goal, right=True)
    return order.gather(1, torch.minimum(place, kept.sum(-1, keepdim=True) - 1))[:, 0]


_WORD = 0xFFFFFFFFFFFFFFFF


def uniform(seeds: npt.NDArray[np.uint64], rows: Ints, steps: Ints) -> Tensor:
    """float64[B] in [0, 1): a hash of (seed, row, step) for each row, so that it does not depend on the batch."""
    with np.errstate(over="ignore"):
        state = _mix(seeds + rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        state = _mix(state ^ (steps.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)))
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014); arithmetic wraps on purpose."""
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
