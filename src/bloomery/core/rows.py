"""TokenRow: the one form in which anything trains a model.

Pre-training text, chat turns, preference pairs and rollouts differ only in who wrote the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PARTS = ("ce", "pg", "kl", "pref")
"""Loss parts: cross-entropy, policy gradient, KL to the reference, preference.

A row with a weight in `kl` alone is measured, not trained: KTO's baseline. Beside `pg`, it holds a rollout to the
start. In `pref`, what is chosen has positive weights and what is rejected negative ones.
"""

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One document or conversation, cut to at most the context length T.

    `ids` is int32[T]. `weight[part]` is float32[T]: the weight of the log-probability of `ids[t]`
    given `ids[:t]`; `weight[part][0]` is 0, because nothing predicts the first token. `advantage`,
    `logp_sampled` and `logp_ref` are float32[T] aligned with `ids`, given only for rollouts and
    preferences. Rows of one `group_id` are kept in one step, and together where a row loss needs them.
    """

    ids: Ids
    weight: Mapping[str, Floats]
    row_id: str
    source: str
    example_id: str
    group_id: str | None = None
    advantage: Floats | None = None
    logp_sampled: Floats | None = None
    logp_ref: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def trained(self, part: str = "ce") -> int:
        """How many tokens carry weight in `part`."""
        weight = self.weight.get(part)
        return 0 if weight is None else int(np.count_nonzero(weight))


@dataclass(frozen=True, slots=True)
class Segment:
    """Source shares from `start` (a step, inclusive) until the next segment begins.

    Shares are fractions of all non-padding tokens by source name and sum to 1. A run's segments are
    only ever appended to, so the rows of a step are a pure function of the step and the segments.
    """

    start: int
    share: Mapping[str, float]
