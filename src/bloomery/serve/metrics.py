"""What `/metrics` tells Prometheus. Names are those that dashboards of other servers use, with our own prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters of one server; `gauges` is asked at each scrape for what is so now."""

    def __init__(self, gauges: Callable[[], dict[str, float]]) -> None:
        self._registry = CollectorRegistry()
        self._gauges = gauges
        made: dict[str, Any] = {"registry": self._registry, "namespace": "bloomery"}
        self.requests = Counter("requests", "Requests by route and status.", ["route", "status"], **made)
        self.seconds = Histogram("request_seconds", "From request to answer.", ["route"], buckets=SECONDS, **made)
        self.first = Histogram("first_token_seconds", "From request to first token.", buckets=SECONDS, **made)
        self.prompt_tokens = Counter("prompt_tokens", "Tokens of prompts.", **made)
        self.completion_tokens = Counter("completion_tokens", "Tokens of answers.", **made)
        self.decisions = Counter("policy_decisions", "What the policy decided.", ["side", "action", "category"], **made)
        self.swaps = Counter("model_swaps", "Times that the served weights were changed.", **made)
        self._registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges, as prometheus_client asks for them."""
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"bloomery_{name}", name.replace("_", " "), value=value)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)
