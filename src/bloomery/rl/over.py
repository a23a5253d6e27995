"""A collector that changes what another collects."""

from __future__ import annotations

from dataclasses import dataclass

from bloomery.rl.loop import Collector


@dataclass(frozen=True, slots=True)
class Over:
    """A collector over another: what it does not do in its own way, `inner` does."""

    inner: Collector

    @property
    def between_turns(self) -> bool:
        """As `inner`."""
        return self.inner.between_turns

    def publish(self, version: int) -> None:
        """As `inner`."""
        self.inner.publish(version)

    def stop(self) -> None:
        """As `inner`."""
        self.inner.stop()

    def restart(self, step: int) -> None:
        """As `inner`."""
        self.inner.restart(step)

    def close(self) -> None:
        """As `inner`."""
        self.inner.close()
