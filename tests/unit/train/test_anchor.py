"""What is kept of the start tells how far a model has moved, by document, and a lower bound of its KL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_model, toy_row

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.rows import TokenRow
from bloomery.models.load import Loaded
from bloomery.train import anchor as module
from bloomery.train.anchor import FILE, Moved, anchor, by_document, divergence
from bloomery.train.module import TrainModule
from bloomery.train.parallel import join_world

WORLD = join_world("cpu")
SETS = {
    "general": [toy_row(f"g{i}", 12 + i, i) for i in range(6)],
    "skills": [toy_row(f"s{i}", 9, 50 + i) for i in range(4)],
}


def log_probabilities(loaded: Loaded, row: TokenRow) -> torch.Tensor:
    """float64[targets, V], by the model as it is."""
    with torch.no_grad():
        logits = loaded.model(torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0, :-1]
    return logits.double().log_softmax(-1)


def changed(loaded: Loaded, by: float) -> TrainModule:
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by)
    return TrainModule(loaded)


@pytest.mark.parametrize("micro", [16, 10_000])
def test_it_tells_losses_and_a_lower_bound_of_the_divergence(
    tmp_path: Path, micro: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEADING", 64)
    torch.manual_seed(0)
    before, after = toy_model(), toy_model()
    start = anchor(tmp_path / "anchor", "start", SETS, TrainModule(before), micro, WORLD)
    unmoved, nothing = start.moved(TrainModule(before), micro, WORLD)
    assert (unmoved["general"].rise, nothing) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    found, kl = start.moved(changed(after, 0.05), micro, WORLD)
    for name, rows in SETS.items():
        for side, loaded in ((found[name].before, before), (found[name].after, after)):
            each = [log_probabilities(loaded, row) for row in rows]
            nats = [-logp.gather(1, torch.from_numpy(r.ids[1:].astype(np.int64))[:, None]).sum().item()
                    for r, logp in zip(rows, each, strict=True)]  # fmt: skip
            assert side == pytest.approx(nats, rel=1e-4)
    pairs = [(log_probabilities(before, row), log_probabilities(after, row)) for row in SETS["general"]]
    whole = torch.cat([(p.exp() * (p - q)).sum(1) for p, q in pairs]).mean().item()
    assert 0.2 * whole < kl < whole


def test_all_tokens_give_the_divergence_itself() -> None:
    random = np.random.default_rng(0)
    p, q = (np.log(random.dirichlet(np.ones(6), 5)) for _ in range(2))
    exact = (np.exp(p) * (p - q)).sum(1)
    assert divergence(p, q) == pytest.approx(exact, rel=1e-6)
    assert (divergence(p[:, :3], q[:, :3]) <= exact + 1e-12).all()
    assert (divergence(p[:, :3], q[:, :3]) >= 0).all()


def test_a_document_in_pieces_counts_once() -> None:
    rows = [toy_row("a", 3, 0), toy_row("a", 4, 1), toy_row("b", 2, 2)]
    assert by_document(rows, np.arange(6)).tolist() == [0 + 1 + 2 + 3 + 4, 5]


def test_the_noise_is_that_of_documents_paired_with_themselves() -> None:
    draw = np.random.default_rng(1)
    before = draw.uniform(50, 500, 400)
    each = Moved(before, before * (1.02 + draw.normal(0, 0.05, 400)))
    again = [Moved(before[i], each.after[i]).rise for i in (draw.integers(0, 400, 400) for _ in range(400))]
    assert each.noise == pytest.approx(np.std(again), rel=0.15)
    assert Moved(before, before * 1.5).noise == pytest.approx(0, abs=1e-12)
    assert Moved(before[:1], before[:1]).noise == float("inf")


def test_it_is_read_back_and_refused_where_it_is_anothers(tmp_path: Path) -> None:
    made = anchor(tmp_path / "anchor", "start", SETS, TrainModule(toy_model()), 64, WORLD)
    other = TrainModule(toy_model(seed=1))
    again = anchor(tmp_path / "anchor", "start", SETS, other, 64, WORLD)
    assert again.moved(other, 64, WORLD)[1] == made.moved(other, 64, WORLD)[1] > 0
    with pytest.raises(InputError, match="the start or the held-out rows have changed"):
        anchor(tmp_path / "anchor", "another", SETS, other, 64, WORLD)
    with pytest.raises(InputError, match="the start or the held-out rows have changed"):
        anchor(tmp_path / "anchor", "start", {"general": SETS["general"][1:]}, other, 64, WORLD)
    data = bytearray((tmp_path / "anchor" / FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / "anchor" / FILE).write_bytes(bytes(data))
    with pytest.raises(DamagedError, match="works it out again"):
        anchor(tmp_path / "anchor", "start", SETS, other, 64, WORLD)
