"""Every rollout of a run on disk, a file a step, readable by its owner only: what was sampled, its reward, its use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, Where
from bloomery.core.files import write_bytes
from bloomery.rl.rollouts import Rollout

FOLDER = "rollouts"


class RolloutLog:
    """Files under a run folder. A step that is done again, after a crash, replaces its file."""

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER

    def write(self, step: int, groups: Sequence[Sequence[Rollout]]) -> None:
        """The rollouts of a step."""
        lines = [json.dumps(one.told(), ensure_ascii=False) for group in groups for one in group]
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        whole = "".join(line + "\n" for line in lines).encode("utf-8", "replace")  # a row's own id may be no text
        write_bytes(self.folder / f"step-{step:06d}.jsonl", whole, 0o600)

    def read(self, step: int) -> Iterator[dict[str, Any]]:
        """The rollouts of a step. Raises `InputError` where there are none."""
        path = self.folder / f"step-{step:06d}.jsonl"
        if not path.is_file():
            known = self.steps()
            fix = f"steps {known[0]} to {known[-1]} are there" if known else "name a run of `objective: rl`"
            raise InputError(f"has no rollouts of step {step}", where=Where(self.folder), fix=fix)
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def steps(self) -> list[int]:
        """Steps that have rollouts, ascending."""
        return sorted(int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.jsonl"))
