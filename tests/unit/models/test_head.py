"""The head's log-probabilities and gradients are those of the logits written out: scale, cap, bias, every path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bloomery.core.errors import InputError
from bloomery.models import head as heads
from bloomery.models import panels
from bloomery.models.head import Head, find_head, logits, token_logprobs, weighted_sum
from bloomery.models.load import new_model

N, H, V = 50, 16, 211
SMALL = {"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(autouse=True)
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several panels and several pieces a panel, the last of each cut short."""
    monkeypatch.setattr(panels, "PANEL_ROWS", 17)
    monkeypatch.setitem(panels.ROW_BYTES, "cpu", 4 * V * 5)


def problem(
    bias: bool, scale: float, softcap: float | None, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Head, Tensor]:
    torch.manual_seed(0)
    linear = nn.Linear(H, V, bias=bias).to(dtype)
    linear.weight.data.mul_(8)
    hidden = (2 * torch.randn(N, H)).to(dtype).requires_grad_()
    return hidden, Head(linear, scale, softcap), torch.randint(0, V, (N,))


def written_out(hidden: Tensor, head: Head, targets: Tensor) -> tuple[Tensor, Tensor]:
    scores = logits(hidden, head)
    lse = scores.logsumexp(-1)
    return scores.gather(1, targets[:, None])[:, 0] - lse, lse


def gradients(total: Tensor, hidden: Tensor, head: Head) -> list[Tensor]:
    return list(torch.autograd.grad(total, [hidden, *head.linear.parameters()]))


CASES = [(False, 1.0, None), (True, 1.0, None), (False, 0.3, None), (True, 0.5, 2.0)]


@pytest.mark.parametrize(("bias", "scale", "softcap"), CASES)
@pytest.mark.parametrize("keep", [0, 1 << 30], ids=["recomputed", "kept"])
def test_any_loss_of_logp_and_lse_has_the_gradients_of_the_logits_written_out(
    bias: bool, scale: float, softcap: float | None, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "KEEP_BYTES", keep)
    hidden, head, targets = problem(bias, scale, softcap)
    a, b = torch.randn(N), torch.randn(N)

    def loss(logp: Tensor, lse: Tensor) -> Tensor:
        return (a * logp.exp() + b * lse.square()).sum()

    ours, theirs = token_logprobs(hidden, head, targets), written_out(hidden, head, targets)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=2e-5)
    for x, y in zip(gradients(loss(*ours), hidden, head), gradients(loss(*theirs), hidden, head), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("bias", "scale", "softcap"), CASES)
def test_each_row_may_have_a_temperature_of_its_own(bias: bool, scale: float, softcap: float | None) -> None:
    hidden, head, targets = problem(bias, scale, softcap)
    temperature = 0.5 + torch.rand(N)
    ours = token_logprobs(hidden, head, targets, temperature)
    warm = logits(hidden, head) / temperature[:, None]
    theirs = warm.log_softmax(-1).gather(1, targets[:, None])[:, 0], warm.logsumexp(-1)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=2e-5)
    mine, wanted = (gradients(logp.exp().sum() + lse.square().sum(), hidden, head) for logp, lse in (ours, theirs))
    for x, y in zip(mine, wanted, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("bias", "scale", "softcap"), CASES)
def test_the_weighted_sum_is_the_sum_and_its_gradients_scale_with_what_comes_after(
    bias: bool, scale: float, softcap: float | None
) -> None:
    hidden, head, targets = problem(bias, scale, softcap)
    weight, z = -torch.rand(N) / N, torch.rand(N) / N
    logp, lse = written_out(hidden, head, targets)
    wanted = (weight * logp + z * lse.square()).sum()
    total, ours_logp, ours_lse = weighted_sum(hidden, head, targets, weight, z)
    torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours_logp, logp, rtol=1e-5, atol=2e-5)
    assert not ours_lse.requires_grad
    for x, y in zip(gradients(3 * total, hidden, head), gradients(3 * wanted, hidden, head), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_a_confident_target_keeps_its_gradient_in_bf16() -> None:
    linear = nn.Linear(2, 3, bias=False).bfloat16()
    linear.weight.data = torch.tensor([[8.0, 0], [0, 1], [0, 2]]).bfloat16()
    hidden = torch.ones(1, 2).bfloat16().requires_grad_()
    total, logp, _ = weighted_sum(hidden, Head(linear), torch.tensor([0]), torch.ones(1))
    (gradient,) = torch.autograd.grad(total, [hidden])
    assert float(gradient[0, 0]) == pytest.approx(8 * float(-logp.double().expm1()), rel=0.01)


def test_bf16_differs_from_fp32_by_rounding_only() -> None:
    hidden, head, targets = problem(False, 1.0, None, torch.bfloat16)
    logp, _ = token_logprobs(hidden, head, targets)
    exact_head = Head(nn.Linear(H, V, bias=False))
    exact_head.linear.weight.data = head.weight.detach().float()
    exact, _ = written_out(hidden.detach().float(), exact_head, targets)
    assert logp.dtype == torch.float32
    assert float((logp - exact).abs().max()) < 2**-7 * float(exact.abs().max())


def test_autocast_computes_in_bf16_and_gives_fp32_gradients() -> None:
    hidden, head, targets = problem(True, 1.0, None)
    with torch.autocast("cpu", torch.bfloat16):
        total, logp, _ = weighted_sum(hidden, head, targets, torch.ones(N))
    assert logp.dtype == torch.float32
    wanted = written_out(hidden, head, targets)[0].sum()
    for x, y in zip(gradients(total, hidden, head), gradients(wanted, hidden, head), strict=True):
        assert x.dtype == torch.float32
        assert float((x - y).norm()) < 0.03 * float(y.norm())


def test_no_rows_give_no_loss_and_zero_gradients() -> None:
    hidden, head, _ = problem(True, 1.0, None)
    none = torch.zeros(0, dtype=torch.int64)
    total, logp, lse = weighted_sum(hidden[:0], head, none, torch.zeros(0))
    assert float(total) == 0
    assert logp.shape == lse.shape == (0,)
    assert all(float(g.abs().sum()) == 0 for g in gradients(total, hidden, head))
    logp, lse = token_logprobs(hidden[:0], head, none)
    assert all(float(g.abs().sum()) == 0 for g in gradients((logp + lse).sum(), hidden, head))


def test_nothing_is_computed_for_a_frozen_head() -> None:
    hidden, head, targets = problem(False, 1.0, None)
    head.linear.weight.requires_grad_(False)
    total, _, _ = weighted_sum(hidden, head, targets, torch.ones(N))
    total.backward()
    assert head.linear.weight.grad is None
    assert hidden.grad is not None


def test_a_second_backward_finds_the_kept_logits_as_they_were() -> None:
    hidden, head, targets = problem(False, 1.0, None)
    logp, _ = token_logprobs(hidden, head, targets)
    first = torch.autograd.grad(logp.sum(), hidden, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(logp.sum(), hidden)[0])


def test_an_output_layer_with_an_adapter_on_it_is_refused() -> None:
    model = new_model(SMALL, 0).model
    model.lm_head = nn.Sequential(model.lm_head)
    with pytest.raises(InputError, match="not a plain linear layer"):
        find_head(model)
