"""The section `rollouts.server` of a recipe."""

from __future__ import annotations

from bloomery.core.secret import Secret
from bloomery.recipes.fields import Section


class ServerSection(Section):
    """The vLLM server that samples, with `engine: vllm`. Without `url` one is started on this machine."""

    url: str | None = None
    """Address of one that serves the start already, takes adapters while it runs, and sees this run's folder
    (docs/rl.md)."""
    token: Secret | None = None
    """`{env: NAME}`: the key that it was started with."""
    model: str | None = None
    """The name under which it serves the start. Default: the first that it tells."""
    arguments: list[str] = []
    """Given to the server that is started, as `vllm serve` takes them: `[--gpu-memory-utilization, "0.4"]`."""
