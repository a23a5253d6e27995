"""reasoning-gym's data sets as tasks of one turn, scored by their own `score_answer`.

Run by path in an interpreter that has reasoning-gym; it imports nothing else but the standard library.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import reasoning_gym

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class ReasoningGym:
    """The data set `name` of `size` entries from `data_seed`, with the options of its own `config`.

    An answer is what stands between the last `<answer>` tags, else all of it.
    """

    def __init__(self, name: str, size: int = 500, data_seed: int = 0, config: Mapping[str, Any] | None = None) -> None:
        self._data = _made(name, size, data_seed, json.dumps(dict(config or {})))
        self._entry: Any = None

    @classmethod
    def tasks(
        cls, rows: int, name: str, size: int = 500, data_seed: int = 0, config: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The entries of the data set."""
        for index, entry in enumerate(_made(name, size, data_seed, json.dumps(dict(config or {})))):
            yield {
                "id": f"{name}:{data_seed}:{index}",
                "prompt": entry["question"],
                "reference_answer": str(entry["answer"]),
                "metadata": {"index": index},
            }

    def reset(self, row: Mapping[str, Any], seed: int) -> None:
        """The row's own question."""
        self._entry = self._data[row["metadata"]["index"]]
        if self._entry["question"] != row["prompt"]:
            raise ValueError(f"row {row['id']} is of another data set: write the tasks anew (bloomery rl tasks)")

    def step(self, message: Mapping[str, Any]) -> tuple[list[Any], float, bool, dict[str, Any]]:
        """Score the answer."""
        said = str(message["content"])
        tagged = _TAGGED.findall(said)
        answer = (tagged[-1] if tagged else said).strip()
        return [], float(self._data.score_answer(answer, self._entry)), True, {}


@functools.cache
def _made(name: str, size: int, seed: int, config: str) -> Any:
    return reasoning_gym.create_dataset(name, size=size, seed=seed, **json.loads(config))
