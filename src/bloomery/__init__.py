"""Bloomery: build your own foundation model from an open model family's stage checkpoints.

The public functions live in `bloomery.api` and are found here on first use, so that `import bloomery` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloomery.api import advise, ask, compare, evaluate, explain, export, list_models, list_runs, rank, resume, run

__version__ = "0.1.0"
__all__ = [
    "advise",
    "ask",
    "compare",
    "evaluate",
    "explain",
    "export",
    "export_gguf",
    "list_models",
    "list_runs",
    "push",
    "rank",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `bloomery` has no attribute `{name}`")
    from bloomery import api

    return getattr(api, name)
