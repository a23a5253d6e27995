"""The Hugging Face Hub's client: online for what the user names, offline for all else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bloomery.core.secret import scrub


def forbidden() -> bool:
    """Whether the user's environment forbids the network (`HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`)."""
    return bool(os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE"))


def reason(error: Exception) -> str:
    """The first line of what the client says, without secrets; the error's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return scrub(lines[0]) if lines else type(error).__name__


@contextmanager
def reachable() -> Iterator[None]:
    """The Hub's client online for what the user named, unless the environment forbids it; offline again after."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = forbidden()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
