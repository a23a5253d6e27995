"""A refusal as plain data, so that all of a recipe's are told together."""

from __future__ import annotations

from dataclasses import dataclass

from bloomery.core.errors import InputError, Where


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal: what cannot work, where it was set, and which key to change."""

    message: str
    where: Where | None = None
    fix: str | None = None

    @classmethod
    def of(cls, error: InputError) -> Problem:
        """The refusal that an error states."""
        return cls(error.message, error.where, error.fix)

    def error(self) -> InputError:
        """The error to raise for it."""
        return InputError(self.message, where=self.where, fix=self.fix)

    def __str__(self) -> str:
        return str(self.error())
