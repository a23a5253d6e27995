"""What the folder of a start holds or asks for that no run uses: said, since silence would look like use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bloomery.models.guard import unopened
from bloomery.recipes.start import whole_config


def ignored(folder: Path) -> Iterator[str]:
    """A line for each: pickles beside the weights, and a router loss."""
    for path in unopened(folder):
        yield f"not used: {path.name}; the weights are read from safetensors alone"
    if whole_config(folder).get("output_router_logits"):
        yield "not used: output_router_logits in config.json; no loss balances the load of experts (docs/training.md)"
