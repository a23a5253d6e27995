"""Many continuations of one text in one forward: their common beginnings are computed once.

The rows of a text form a trie of tokens: the text, the questions after it, the words that answer each. The trie lies in
one row; a token sees its ancestors only, and stands at its own depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bloomery.core.rows import Floats, TokenRow
from bloomery.engine.protocol import Engine
from bloomery.models.head import token_logprobs

Ints = npt.NDArray[np.int64]

MOST_CELLS = 1 << 21
"""Most cells of the masks of one forward (texts x tokens x tokens): 2 MB of booleans."""
TOLERANCE = 1e-3
"""Largest difference in nats between the trie and rows one by one at which the trie is used (fp32: about 1e-6)."""


@dataclass(frozen=True, slots=True)
class Trie:
    """Tokens int64[N], the parent of each (-1: the root), and the nodes of each row from its second token on."""

    tokens: Ints
    parent: Ints
    depth: Ints
    rows: tuple[Ints, ...]

    def sees(self) -> npt.NDArray[np.bool_]:
        """bool[N, N]: which nodes a node attends to, itself and its ancestors."""
        found = np.zeros((len(self.tokens), len(self.tokens)), np.bool_)
        for node, parent in enumerate(self.parent.tolist()):
            if parent >= 0:
                found[node] = found[parent]
            found[node, node] = True
        return found


def build(rows: Sequence[Sequence[int]]) -> Trie:
    """The trie of rows that begin with one token. Rows must not be empty."""
    children: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    parent: list[int] = []
    depth: list[int] = []
    paths = []
    for row in rows:
        here, path = -1, []
        for token in row:
            node = children.get((here, token))
            if node is None:
                node = children[here, token] = len(tokens)
                tokens.append(token)
                parent.append(here)
                depth.append(0 if here < 0 else depth[here] + 1)
            here = node
            path.append(node)
        paths.append(np.array(path[1:], np.int64))
    return Trie(np.array(tokens), np.array(parent), np.array(depth), tuple(paths))


class TrieScorer:
    """Scores groups of rows that share beginnings: in tries where the model allows it, else row by row.

    A model allows it where it takes a mask of four dimensions and gives the same scores with it; `why` says what is
    in the way. `tokens` counts what was computed, `alone` what rows one by one would have been.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tokens = self.alone = 0
        self.why = _obstacle(engine) or self._differs()

    def __call__(
        self, groups: Sequence[Sequence[Sequence[int]]], starts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Floats]]:
        """For each row of each group float32[T]: log-probability of its tokens given those before; 0 at first.

        `starts` names the first token of each row that is asked about: in a trie the logits of those before are not
        computed, and they are 0. For a text of 60 tokens and answers of one that is most of the head's work.
        """
        self.alone += sum(len(row) for group in groups for row in group)
        if self.why:
            self.tokens += sum(len(row) for group in groups for row in group)
            flat = iter(self.engine.score([_row(row) for group in groups for row in group]))
            return [[next(flat) for _ in group] for group in groups]
        tries = [build(group) for group in groups]
        self.tokens += sum(len(trie.tokens) for trie in tries)
        found: dict[int, list[Floats]] = {}
        wanted = [_wanted(trie, starts[i] if starts else [1] * len(trie.rows)) for i, trie in enumerate(tries)]
        for batch in _batches([len(trie.tokens) for trie in tries]):
            found.update(zip(batch, self._forward([tries[i] for i in batch], [wanted[i] for i in batch]), strict=True))
        return [found[i] for i in range(len(tries))]

    @torch.inference_mode()
    def _forward(self, tries: Sequence[Trie], wanted: Sequence[Ints]) -> list[list[Floats]]:
        engine: Any = self.engine
        longest = max(len(trie.tokens) for trie in tries)
        ids = torch.zeros(len(tries), longest, dtype=torch.long)
        place = torch.zeros_like(ids)
        # Padding sees itself, or its row of the softmax would be empty.
        mask = torch.eye(longest, dtype=torch.bool).repeat(len(tries), 1, 1)
        for i, trie in enumerate(tries):
            size = len(trie.tokens)
            ids[i, :size], place[i, :size] = torch.from_numpy(trie.tokens), torch.from_numpy(trie.depth)
            mask[i, :size, :size] = torch.from_numpy(trie.sees())
        ids, place, mask = (one.to(engine.device) for one in (ids, place, mask[:, None]))
        weights = next(engine.model.parameters()).dtype
        bias = torch.zeros(mask.shape, dtype=weights, device=mask.device).masked_fill(~mask, torch.finfo(weights).min)
        decoder = engine.model.get_decoder()
        hidden = decoder(input_ids=ids, attention_mask=bias, position_ids=place, use_cache=False)[0]
        counts = [len(one) for one in wanted]
        parents = np.concatenate([trie.parent[one] for trie, one in zip(tries, wanted, strict=True)])
        numbers = [np.repeat(np.arange(len(tries)), counts), np.concatenate(wanted), parents]
        text, node, above = (torch.from_numpy(one).to(engine.device) for one in numbers)
        logp, _ = token_logprobs(hidden[text, above], engine.head, ids[text, node])
        told = np.zeros((len(tries), longest), np.float32)
        told[text.cpu().numpy(), node.cpu().numpy()] = logp.float().cpu().numpy()
        zero = np.zeros(1, np.float32)
        return [[np.concatenate([zero, told[i, row]]) for row in trie.rows] for i, trie in enumerate(tries)]

    def _differs(self) -> str:
        """What the model says of a trie when it does not say the same of its rows; empty where it does."""
        vocabulary = int(getattr(self.engine.model.config, "vocab_size", 64))  # type: ignore[attr-defined]
        rng = np.random.default_rng(0)
        stem = rng.integers(0, vocabulary, 12).tolist()
        rows = [[*stem, *rng.integers(0, vocabulary, 3).tolist()] for _ in range(3)]
        rows += [[*rows[0][:-1], int(rng.integers(0, vocabulary))], stem[:5]]
        try:
            trie = build(rows)
            [inside] = self._forward([trie], [_wanted(trie, [1] * len(rows))])
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            return f"the model takes no tree of tokens: {type(error).__name__}"
        apart = self.engine.score([_row(row) for row in rows])
        most = max(float(np.abs(a - b).max()) for a, b in zip(inside, apart, strict=True))
        return "" if most < TOLERANCE else f"a tree of tokens scores {most:.2g} nats away from its rows"


def _wanted(trie: Trie, starts: Sequence[int]) -> Ints:
    """Nodes whose log-probabilities are asked for: those of each row from its token `start` on, 1 or more."""
    return np.unique(np.concatenate([row[start - 1 :] for row, start in zip(trie.rows, starts, strict=True)]))


def _obstacle(engine: Engine) -> str:
    """What is known to be in the way without trying."""
    model = getattr(engine, "model", None)
    if model is None or not hasattr(engine, "head"):
        return "the engine has no weights in this process"
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or (getattr(config, "sliding_window", None) and not hasattr(config, "layer_types")):
        return "the model has layers that are not full attention"
    return ""


def _row(ids: Sequence[int]) -> TokenRow:
    return TokenRow(np.array(ids, np.int32), {}, "label", "label", "label")


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of texts, of like sizes together, so that the masks of a batch stay within `MOST_CELLS`."""
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batches and (len(batches[-1]) + 1) * sizes[i] ** 2 <= MOST_CELLS:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
