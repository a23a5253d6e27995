"""Requests through an engine, and rows of keys and values, for the tests of both."""

from __future__ import annotations

import torch

from bloomery.engine.native import NativeEngine
from bloomery.engine.protocol import Answer, Request
from bloomery.engine.scheduler import Scheduler
from bloomery.engine.slots import Shape, Slot

SHAPES = {0: Shape(2, 3, 5, torch.float32), 1: Shape(1, 4, 4, torch.float32)}
TOKEN = sum(shape.bytes for shape in SHAPES.values())


def write(slot: Slot, mark: int, length: int) -> None:
    slot.slab.widen(length)
    slot.length = length
    for keys, values in slot.slab.layers.values():
        keys[slot.row, :, :length] = mark
        values[slot.row, :, :length] = mark


def read_tokens(engine: NativeEngine, scheduler: Scheduler) -> list[int]:
    """Counts the tokens of each forward from now on."""
    counts: list[int] = []
    engine.model.get_input_embeddings().register_forward_pre_hook(  # type: ignore[operator]
        lambda _, given: counts.append(given[0].numel())
    )
    return counts


def answered(engine: NativeEngine, requests: list[Request], scheduler: Scheduler | None = None) -> list[Answer]:
    scheduler = scheduler or engine.scheduler()
    answers = [Answer() for _ in requests]
    for request, answer in zip(requests, answers, strict=True):
        scheduler.waiting.append(engine.accept(request, answer.take, scheduler.backend.fits))
    while scheduler.busy:
        scheduler.step()
    return answers
