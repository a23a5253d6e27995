"""Packed documents give the logits and gradients that each document gives alone, in every architecture we name."""

from __future__ import annotations

import pytest
import torch
from architectures import PACKED, PADDED, WINDOW, tiny
from torch import Tensor

from bloomery.models import parity
from bloomery.models.backbone import bounds_of, hidden_states, padded_hidden_states, positions_of
from bloomery.models.head import logits, token_logprobs
from bloomery.models.load import Loaded

LENGTHS = (9, 1, 17, 5)


def ids(seed: int = 3) -> Tensor:
    return torch.randint(3, 97, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(seed))


def gradients(loaded: Loaded) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in loaded.model.named_parameters() if p.grad is not None}
    loaded.model.zero_grad()
    return found


def native_loss(loaded: Loaded, row: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Sum of log-probabilities of the model's own logits, document by document, with eager attention."""
    parity.use_attention(loaded.model, "eager")
    found = [loaded.model(input_ids=d, use_cache=False).logits[0].float() for d in row.split(LENGTHS, 1)]
    targets = row[0].roll(-1).split(LENGTHS)
    return sum(x.log_softmax(-1).gather(1, t[:, None]).sum() for x, t in zip(found, targets, strict=True)), found


@pytest.mark.parametrize("architecture", PACKED)
def test_packed_logits_and_gradients_are_those_of_each_document_alone(architecture: str) -> None:
    loaded, row, bounds = tiny(architecture), ids(), bounds_of(LENGTHS)
    assert loaded.packing == "packed", loaded.why
    hidden = hidden_states(loaded.model, row, positions_of(bounds), bounds)[0]
    got = logits(hidden, loaded.head)
    logp, _ = token_logprobs(hidden, loaded.head, row[0].roll(-1))
    logp.sum().backward()
    ours = gradients(loaded)
    wanted, reference = native_loss(loaded, row)
    wanted.backward()
    theirs = gradients(loaded)
    largest = float(torch.cat(reference).abs().max())
    assert largest > (1.9 if loaded.head.softcap else 2.5 if loaded.head.scale != 1 else 5), (
        "a weak model shows nothing"
    )
    assert float((got - torch.cat(reference)).abs().max()) < 1e-4 * largest
    assert abs(float(logp.sum() - wanted)) < 1e-4 * abs(float(wanted))
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert float((ours[name] - gradient).norm()) <= 2e-4 * float(gradient.norm()) + 1e-6, name


@pytest.mark.parametrize("architecture", PADDED)
def test_what_cannot_be_packed_is_padded_and_says_why(architecture: str) -> None:
    loaded, row = tiny(architecture), ids()
    assert loaded.packing == "padded"
    assert "trains on padded rows" in loaded.why
    parts = row.split(LENGTHS, 1)
    padded = torch.cat([torch.nn.functional.pad(d, (0, max(LENGTHS) - d.shape[1])) for d in parts])
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    hidden = padded_hidden_states(loaded.model, padded, mask)
    got = torch.cat([logits(hidden[i, :n], loaded.head) for i, n in enumerate(LENGTHS)])
    logp = got.log_softmax(-1).gather(1, row[0].roll(-1)[:, None]).sum()
    logp.backward()
    ours = gradients(loaded)
    wanted, reference = native_loss(loaded, row)
    wanted.backward()
    assert float((got - torch.cat(reference)).abs().max()) < 1e-4 * float(torch.cat(reference).abs().max())
    for name, gradient in gradients(loaded).items():
        assert float((ours[name] - gradient).norm()) <= 2e-4 * float(gradient.norm()) + 1e-6, name


def test_the_windows_of_the_tests_are_shorter_than_their_documents() -> None:
    assert max(LENGTHS) > WINDOW
    assert max(parity.LENGTHS) > parity.WINDOW


def test_sinks_of_the_test_model_are_alive() -> None:
    sinks = [p for n, p in tiny("gpt_oss").model.named_parameters() if n.endswith("sinks")]
    assert sinks and all(float(s.abs().min()) > 1e-3 for s in sinks)
