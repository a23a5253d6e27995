"""Whether our paths give a model's own logits, tried on random tokens when the model is loaded.

Three answers: packed rows through the registered attention; padded rows through the architecture's own
attention, where packed ones differ (an architecture may accept a registered attention and never call it,
call it without bounds, or have state-space layers beside it); or a refusal, where our head differs too.
The reference is `model(document).logits`, one document at a time, with eager attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bloomery.core.errors import InputError
from bloomery.models import attention
from bloomery.models.backbone import bounds_of, hidden_states, padded_hidden_states, positions_of
from bloomery.models.fuse import fuse
from bloomery.models.head import Head, logits
from bloomery.models.pieces import Pieces
from bloomery.models.rotary import follows_length

LENGTHS = (5, 11, 1, 7)
"""Documents of the check: the window is 4 during it, so that documents are longer than the window."""
WINDOW = 4
SHARED = 6
"""Tokens that two documents of the check have in common."""
TOLERANCE = {torch.float32: 2e-4, torch.float64: 2e-4}
"""Largest difference allowed, as a share of the largest logit. Leaking documents change it by 1e-2 and more."""
FAULTS = (TypeError, ValueError, KeyError, AttributeError, RuntimeError, ImportError)
"""What an architecture raises at an attention or an argument it does not know."""
HALF_TOLERANCE = 0.05
"""The same in bf16 and fp16, where the order of operations alone gives 1e-2."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How to run the model: `packing` "packed" or "padded"; `why` it is padded; the `head` that was proven; `shares`,
    whether packed documents that begin alike may have their beginning once."""

    packing: str
    why: str
    head: Head
    shares: bool = False


def check(model: nn.Module, head: Head) -> Verdict:
    """Compare and leave the model with the attention that was found right.

    Raises `InputError` when neither packed nor padded rows give the model's own logits.
    """
    with _quietly(model), _short_windows(model):
        documents = sample_documents(model)
        use_attention(model, "eager")
        reference = _one_by_one(model, documents)
        going_on = torch.cat([documents[1][:, :SHARED], documents[3]], 1)
        [going_on_alone] = _one_by_one(model, [going_on])
        head = _proven_head(model, head, documents[1], reference[1])
        fuse(model)
        why = _packed_fault(model, head, documents, reference)
        if not why:
            return Verdict("packed", "", head, _shares(model, head, documents[1], going_on, going_on_alone))
        for own in ("sdpa", "eager"):
            if not (fault := _padded_fault(model, own, head, documents, reference)):
                return Verdict("padded", f"{_name(model)} trains on padded rows with {own} attention: {why}", head)
    raise InputError(
        f"neither packed nor padded rows give the logits of {_name(model)}: packed: {why}; padded: {fault}",
        fix="train another architecture, or report this one",
    )


def use_attention(model: nn.Module, name: str) -> None:
    """Make every attention layer use the implementation registered under `name` (models without any are left alone)."""
    if getattr(model.config, "_attn_implementation", None) != name:
        model.set_attn_implementation(name)  # type: ignore[operator]


def _packed_fault(model: nn.Module, head: Head, documents: list[Tensor], reference: list[Tensor]) -> str:
    """Empty where packed rows are right, else what is wrong with them."""
    unknown = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if unknown:
        return f"it has layers of type {', '.join(sorted(unknown))}, which packed rows do not serve"
    bounds = bounds_of([d.shape[1] for d in documents])
    try:
        use_attention(model, attention.NAME)
        hidden = hidden_states(model, torch.cat(documents, 1), positions_of(bounds, documents[0].device), bounds)
    except FAULTS as error:
        return f"it cannot run packed rows ({type(error).__name__}: {str(error)[:120]})"
    return difference(list(logits(hidden[0], head).split([d.shape[1] for d in documents])), reference)


def _shares(model: nn.Module, head: Head, whole: Tensor, going_on: Tensor, reference: Tensor) -> bool:
    """Whether a document that goes on from the first `SHARED` tokens of another has its own logits."""
    if whole.device.type != "cpu" or follows_length(model):
        return False  # the kernels for GPU know whole documents; such embeddings turn by where a document begins
    lengths = [whole.shape[1], going_on.shape[1] - SHARED]
    positions = torch.cat([torch.arange(lengths[0]), torch.arange(SHARED, going_on.shape[1])])[None]
    ids = torch.cat([whole, going_on[:, SHARED:]], 1)
    hidden = hidden_states(model, ids, positions, Pieces(bounds_of(lengths), ((0, 0), (0, SHARED))))
    return not difference([logits(hidden[0, lengths[0] :], head)], [reference[SHARED:]])


def _padded_fault(model: nn.Module, own: str, head: Head, documents: list[Tensor], reference: list[Tensor]) -> str:
    """Empty where rows padded on the right are right under the architecture's `own` attention."""
    longest = max(d.shape[1] for d in documents)
    ids = torch.cat([nn.functional.pad(d, (0, longest - d.shape[1])) for d in documents])
    mask = torch.cat([nn.functional.pad(torch.ones_like(d), (0, longest - d.shape[1])) for d in documents])
    try:
        use_attention(model, own)
        hidden = padded_hidden_states(model, ids, mask)
    except FAULTS as error:
        return f"it cannot run {own} attention ({type(error).__name__}: {str(error)[:120]})"
    return difference([logits(hidden[i, : d.shape[1]], head) for i, d in enumerate(documents)], reference)


def _one_by_one(model: nn.Module, documents: list[Tensor]) -> list[Tensor]:
    """The model's own logits of each document alone: fp32[T, V] each."""
    return [model(input_ids=d, use_cache=False).logits[0].float() for d in documents]


def _proven_head(model: nn.Module, head: Head, document: Tensor, reference: Tensor) -> Head:
    """`head`, or the same with a logit scale measured on the model; raises `InputError` where no scale fits."""
    whole = (0, document.shape[1])
    decoder: Any = model.get_decoder()  # type: ignore[operator]
    hidden = decoder(input_ids=document, use_cache=False)[0][0]
    if not (fault := difference([logits(hidden, head)], [reference])):
        return head
    plain = logits(hidden, Head(head.linear))
    scale = float((plain * reference).sum() / plain.square().sum())
    measured = Head(head.linear, scale)
    if not difference([logits(hidden, measured)], [reference]):
        return measured
    raise InputError(
        f"the output layer of {_name(model)} is no scaled and capped linear map of its hidden states: {fault}",
        fix=f"train another architecture (positions {whole} were compared)",
    )


def difference(got: list[Tensor], reference: list[Tensor]) -> str:
    """Empty where the logits agree, else by how much they differ."""
    dtype = got[0].dtype
    largest = max(float(r.abs().max()) for r in reference)
    apart = max(float((g.float() - r).abs().max()) for g, r in zip(got, reference, strict=True))
    allowed = TOLERANCE.get(dtype, HALF_TOLERANCE) * largest
    return "" if apart <= allowed else f"logits differ by {apart:.2g} (largest {largest:.2g}, allowed {allowed:.2g})"


def sample_documents(model: nn.Module) -> list[Tensor]:
    """Random documents of `LENGTHS` tokens: int64[1, T] each, the same for every load."""
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    vocabulary = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    return [torch.randint(0, vocabulary, (1, n), generator=generator).to(device) for n in LENGTHS]


@contextmanager
def _quietly(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, then the mode the model was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


@contextmanager
def _short_windows(model: nn.Module) -> Iterator[None]:
    """Shrink every sliding window to `WINDOW` tokens, so that short documents show whether it is honoured."""
    holders: list[Any] = [model.config, *model.modules()]
    old = [(h, h.sliding_window) for h in holders if isinstance(getattr(h, "sliding_window", None), int)]
    try:
        for holder, _ in old:
            holder.sliding_window = WINDOW
        yield
    finally:
        for holder, window in old:
            holder.sliding_window = window


def _name(model: nn.Module) -> str:
    return type(model).__name__
