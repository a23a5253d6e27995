"""Whether a run that goes on reads the rows it began with: a hash of every source's rows, kept with its position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bloomery.core.errors import InputError

Identity = dict[str, Any]
"""JSON: `rows`, a hash of a source's rows in their order, and `files`, [name, sha256] of what they were read from."""


def refuse_other_rows(saved: Mapping[str, Identity], now: Mapping[str, Identity]) -> None:
    """Raises `InputError` naming source and file unless every source's rows are those of `saved`."""
    for name, before in saved.items():
        if name in now and now[name]["rows"] != before["rows"]:
            raise InputError(
                f"source `{name}` has other rows than when this run was saved: {_difference(before, now[name])}",
                fix="restore the data as it was, or start a new run from the checkpoint",
            )


def _difference(before: Identity, now: Identity) -> str:
    was, is_ = ({tuple(file) for file in one["files"]} for one in (before, now))
    gone, come = ({name for name, _ in files} for files in (was - is_, is_ - was))
    told = [
        *(f"the content of `{name}` changed" for name in sorted(gone & come)),
        *(f"`{name}` is gone" for name in sorted(gone - come)),
        *(f"`{name}` is new" for name in sorted(come - gone)),
    ]
    if told:
        return ", ".join(told[:3]) + (" ..." if len(told) > 3 else "")
    if not now["files"]:
        return "it is generated, and the generator, its options or the packages it reads changed"
    return "its files are the same, but the tokenizer, the chat template or what is held out changed"
