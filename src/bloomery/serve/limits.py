"""What one client, and all of them together, may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass

from bloomery.core.errors import InputError

BODY = 1 << 20
"""Most bytes of a request."""
MESSAGES = 1024
ANSWERS = 16
"""Most answers to one request, prompts times `n`."""
PROMPTS = 256
"""Most texts to embed at once."""
STOPS, STOP_LENGTH = 4, 256
TOOLS = 64
SCHEMA, SCHEMA_DEPTH = 64 << 10, 32
"""Most bytes and levels of a JSON schema; as many bytes of another grammar."""
CHOICES = 1024
"""Most texts of which an answer must be one."""
BIASES = 1024


RUNNING, QUEUE, PATIENCE = 64, 256, 0.3
"""Answers worked on at once, requests that may wait for a place, and seconds that each may."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once, and how long. Seconds are wall time."""

    running: int = RUNNING
    """Answers worked on at once."""
    queue: int = QUEUE
    """Requests that may wait for a place; the next is refused at once. Once there is a queue for longer than
    `patience`, it may be no longer than what came out of it within that time: the next would only be refused later."""
    patience: float = PATIENCE
    """Seconds that a request waits for a place before it is refused.

    Of 10,000 requests to ember, 1,000 a second on two cores, the last was answered 0.71 to 0.90 s after it arrived;
    with 0.5 it was 0.90 to 0.98 s, and not one more was answered.
    """
    body_seconds: float = 10.0
    """Seconds in which a request must have arrived whole."""
    request_seconds: float = 600.0
    """Seconds after which an answer is given up."""
    stall_seconds: float = 30.0
    """Seconds that a client may take to read what was sent before it is cut off."""
    drain_seconds: float = 30.0
    """Seconds that running answers get when the server is told to stop."""

    def __post_init__(self) -> None:
        for name in ("running", "queue"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}: {getattr(self, name)}` lets no request in", fix=f"set `{name}` to 1 or more"
                )
        for name in ("patience", "body_seconds", "request_seconds", "stall_seconds", "drain_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"`{name}: {getattr(self, name)}` is no time", fix="give seconds, 0 or more")
