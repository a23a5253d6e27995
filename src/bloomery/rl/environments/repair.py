"""Write a tapline program, see what the interpreter says, repair it: the demo company's language as an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bloomery.core.errors import InputError
from bloomery.data.curated.workflow.check import check

SAID = {"whole": "That is not right: {reason}. Write the program again.", "error": "! {reason}"}


class Repair:
    """Rows of `builtin: workflow-pairs`. 1 for a right program, `discount` times that for each repair it took.

    `say` is how a wrong program is answered: `error`, as a transcript of the language shows errors; or `whole`, as a
    sentence. What is said holds the interpreter's error, or what came out and what should have, never the reference.
    """

    def __init__(self, discount: float = 1.0, say: str = "error") -> None:
        if not 0 < discount <= 1:
            raise InputError(f"`discount: {discount}` is no part of 1", fix="set it above 0, and at most to 1")
        if say not in SAID:
            raise InputError(f"`say: {say}` is neither error nor whole", fix="change `say`")
        self._worth, self._discount, self._said = 1.0, discount, SAID[say]
        self._metadata: Mapping[str, Any] = {}

    def reset(self, row: Mapping[str, Any], seed: int) -> None:
        """The row's own question."""
        self._metadata = row["metadata"]

    def step(self, message: Mapping[str, Any]) -> tuple[list[dict[str, str]], float, bool, dict[str, Any]]:
        """Run the program."""
        verdict = check(str(message["content"]).strip(), self._metadata)
        if verdict.ok:
            return [], self._worth, True, {}
        self._worth *= self._discount
        return [{"role": "user", "content": self._said.format(reason=verdict.reason)}], 0.0, False, {}
