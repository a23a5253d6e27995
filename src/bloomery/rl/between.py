"""What collectors in this process share: new weights come between steps, and a grader may wait for its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from bloomery.graders.payload import Grader
from bloomery.rl.outage import heed


class BetweenSteps:
    """The part of a collector that is the same however it samples.

    `renew` renews the engine's weights, where they are not those in training themselves.
    """

    grader: Grader | None
    renew: Callable[[int], None]
    version: int
    between_turns: ClassVar[bool] = False

    def publish(self, version: int) -> None:
        """Sample with the weights as they are now."""
        self.renew(version)
        self.version = version

    def restart(self, step: int) -> None:
        """Nothing is kept between steps."""
        heed(self.grader, stopping=False)

    def stop(self) -> None:
        """A step comes to its end by itself, unless a grader waits for its server."""
        heed(self.grader, stopping=True)
