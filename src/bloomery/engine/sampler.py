"""Choosing the next token of many rows at once, each by its own settings.

Rows: B; vocabulary: V.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bloomery.engine.protocol import Sampling

BLOCK = 256
"""Tokens whose probabilities are summed first: a draw then looks into one block, where sorting costs three times the
softmax."""
HEAD = 64
"""Most probable tokens looked at before all of them are sorted for top-k, top-p and min-p."""

Ints = npt.NDArray[np.int64]


def choose(logits: Tensor, samplings: Sequence[Sampling], numbers: Ints, steps: Ints) -> tuple[Tensor, Tensor, Tensor]:
    """logits [B, V] -> (token int64[B], its log-probability fp32[B], logits over the temperature fp32[B, V]).

    `numbers` and `steps` int64[B] are each row's number under its seed and its position in the answer. Greedy rows are
    scored at temperature 1.
    """
    scores = logits.float()
    temperatures = np.array([sampling.temperature for sampling in samplings], np.float32)
    sampled = np.flatnonzero(temperatures > 0)
    if len(sampled) and not np.all(temperatures == 1):
        scores = scores / torch.from_numpy(np.where(temperatures > 0, temperatures, 1))[:, None].to(scores.device)
    blocks, sums, normaliser = _masses(scores)
    greedy = len(sampled) < len(samplings)
    token = scores.argmax(-1) if greedy else torch.empty(len(samplings), dtype=torch.long, device=scores.device)
    limited = np.array([_limits(samplings[i]) for i in sampled.tolist()], np.int64)
    for cut in (0, 1):
        rows = sampled[limited == cut]
        if len(rows):
            own = [samplings[i] for i in rows.tolist()]
            u = uniform(np.array([s.seed & _WORD for s in own], np.uint64), numbers[rows], steps[rows])
            u = u.to(scores.device)
            at = slice(None) if len(rows) == len(samplings) else torch.from_numpy(rows).to(scores.device)
            token[at] = _draw_cut(scores[at], own, normaliser[at], u) if cut else _draw(blocks[at], sums[at], u)
    return token, scores.gather(1, token[:, None])[:, 0] - normaliser, scores


def _masses(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(exp(score - greatest) in blocks fp32[B, N, BLOCK], their running sums fp64[B, N], log of the total fp32[B])."""
    rows, width = scores.shape
    most = scores.amax(-1, keepdim=True)
    mass = scores.new_empty(rows, -(-width // BLOCK) * BLOCK)
    torch.sub(scores, most, out=mass[:, :width]).exp_()
    mass[:, width:] = 0
    blocks = mass.view(rows, -1, BLOCK)
    sums = blocks.sum(-1).double().cumsum(-1)
    return blocks, sums, most[:, 0] + sums[:, -1].log().float()


def penalise(logits: Tensor, sampling: Sampling, prompt: Tensor, answer: Tensor) -> None:
    """Apply the penalties and the bias of one row to its logits fp32[V] in place, by ids int64[...] told so far."""
    if sampling.repetition_penalty != 1:
        told = torch.cat([prompt, answer]).unique()
        logits[told] = torch.where(
            logits[told] > 0, logits[told] / sampling.repetition_penalty, logits[told] * sampling.repetition_penalty
        )
    if (sampling.presence_penalty or sampling.frequency_penalty) and len(answer):
        told, counts = answer.unique(return_counts=True)
        logits[told] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    if sampling.logit_bias:
        ids, bias = zip(*sampling.logit_bias, strict=True)
        logits[torch.tensor(ids, device=logits.device)] += torch.tensor(bias, device=logits.device)


def changes_logits(sampling: Sampling) -> bool:
    """Whether `penalise` has anything to do."""
    return bool(
        sampling.repetition_penalty != 1
        or sampling.presence_penalty
        or sampling.frequency_penalty
        or sampling.logit_bias
    )


def _limits(sampling: Sampling) -> bool:
    return sampling.top_p < 1 or sampling.top_k > 0 or sampling.min_p > 0


def _draw(blocks: Tensor, sums: Tensor, u: Tensor) -> Tensor:
    """Inverse-CDF sampling among all tokens, in the order of their ids: first the block, then the token in it."""
    goal = u[:, None] * sums[:, -1:]
    block = torch.searchsorted(sums, goal, right=True).clamp(max=sums.shape[1] - 1)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0)
    inside = blocks[torch.arange(len(u), device=u.device), block[:, 0]].double().cumsum(-1)
    place = torch.searchsorted(inside, goal - before, right=True)[:, 0]
    # Rounding can put the goal behind the last token that has any probability: take that one.
    last = (inside < inside[:, -1:]).sum(-1)
    return block[:, 0] * BLOCK + torch.minimum(place, last)


def _draw_cut(scores: Tensor, samplings: Sequence[Sampling], normaliser: Tensor, u: Tensor) -> Tensor:
    """Inverse-CDF sampling among the tokens that top-k, top-p and min-p leave, most probable first."""
    width = scores.shape[-1]
    column = lambda values: torch.tensor(values, device=scores.device)[:, None]  # noqa: E731
    top_k = column([sampling.top_k or width for sampling in samplings])
    top_p = column([sampling.top_p for sampling in samplings]).double()
    min_p = column([sampling.min_p for sampling in samplings]).double()
    for count in dict.fromkeys((min(HEAD, width), width)):
        best, order = scores.topk(count, -1)
        p = (best - normaliser[:, None]).double().exp()
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
