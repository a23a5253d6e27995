"""The native engine against transformers and against whole-row forwards, on tiny random models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, Mamba2Config, MistralConfig

import bloomery
from bloomery.core.errors import InputError
from bloomery.core.rows import TokenRow
from bloomery.engine.native import SCORE_TOKENS, NativeEngine
from bloomery.engine.protocol import Sampling
from bloomery.engine.sampler import choose, uniform
from bloomery.models.head import find_head
from bloomery.models.load import Loaded

SMALL = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "eos_token_id": 1}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, **HEADS, initializer_range=0.3),
    "mistral": MistralConfig(**SMALL, **HEADS, sliding_window=6, initializer_range=0.3),
    "gemma2": Gemma2Config(
        **SMALL, **HEADS, head_dim=8, sliding_window=5, final_logit_softcapping=2.0, initializer_range=0.3
    ),
    "mamba2": Mamba2Config(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=2,
        head_dim=8,
        num_heads=8,
        state_size=8,
        n_groups=1,
        eos_token_id=1,
    ),
}


ZERO = np.zeros(4000, np.int64)


def load(name: str) -> Loaded:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(
        CONFIGS[name], dtype=torch.float32, attn_implementation="eager" if name == "gemma2" else None
    )
    return Loaded(model, None, model.config, None, "padded", "", find_head(model))


def prompts(n: int, seed: int = 0, longest: int = 20) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 97, rng.integers(1, longest)).tolist() for _ in range(n)]


def row(ids: list[int]) -> TokenRow:
    return TokenRow(np.array(ids, np.int32), {}, "r", "s", "e")


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "mamba2"])
def test_greedy_answers_equal_transformers_generate_token_for_token(name: str) -> None:
    count, most = (3, 4) if name == "mamba2" else (9, 12)  # its scan is slow without the CUDA kernels
    loaded, asked = load(name), prompts(count)
    answers = NativeEngine(loaded, batch_rows=4).generate(asked, Sampling(max_new_tokens=most))
    for prompt, answer in zip(asked, answers, strict=True):
        out = loaded.model.eval().generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=most,
            do_sample=False,
            pad_token_id=0,
        )
        assert answer.ids == tuple(out[0, len(prompt) :].tolist())


def test_attention_models_share_forwards_and_recurrent_models_read_all_again() -> None:
    assert NativeEngine(load("llama")).ragged and NativeEngine(load("gemma2")).ragged
    assert not NativeEngine(load("mamba2")).ragged
    assert NativeEngine(load("llama")).cached
    assert NativeEngine(load("gemma2")).cached
    assert not NativeEngine(load("mamba2")).cached


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logprobs_of_sampled_tokens_equal_one_whole_forward(temperature: float) -> None:
    loaded, asked = load("llama"), prompts(6)
    engine = NativeEngine(loaded)
    answers = engine.generate(asked, Sampling(max_new_tokens=10, temperature=temperature, seed=4))
    for prompt, answer in zip(asked, answers, strict=True):
        logits = loaded.model.eval()(torch.tensor([prompt + list(answer.ids)])).logits[0, len(prompt) - 1 : -1].double()
        want = (logits / (temperature or 1.0)).log_softmax(-1).gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        assert np.allclose(answer.logprobs, want.detach().numpy(), atol=1e-4)


def test_a_sampled_answer_does_not_depend_on_how_prompts_fall_into_batches() -> None:
    loaded, asked = load("llama"), prompts(11)
    sampling = Sampling(max_new_tokens=9, temperature=1.0, top_p=0.9, seed=7)
    together = NativeEngine(loaded).generate(asked, sampling)
    apart = NativeEngine(loaded, batch_rows=2).generate(asked, sampling)
    assert [a.ids for a in together] == [a.ids for a in apart]
    other = NativeEngine(loaded).generate(asked, Sampling(max_new_tokens=9, temperature=1.0, top_p=0.9, seed=8))
    assert [a.ids for a in together] != [a.ids for a in other]


def test_equal_prompts_are_sampled_independently() -> None:
    answers = NativeEngine(load("llama")).generate([[5, 6]] * 8, Sampling(max_new_tokens=6, temperature=1.5))
    assert len({a.ids for a in answers}) > 1


def test_an_answer_ends_at_any_stop_id_and_says_so() -> None:
    engine, asked = NativeEngine(load("llama")), prompts(16)
    stops = tuple(range(0, 97, 4))
    answers = engine.generate(asked, Sampling(max_new_tokens=30, temperature=1.0, stop_ids=stops))
    assert {a.finish_reason for a in answers} == {"stop"}
    for answer in answers:
        assert answer.ids[-1] in stops and not set(answer.body) & set(stops)
        assert len(answer.logprobs) == len(answer.ids) and answer.seconds > 0


def test_an_answer_is_cut_where_the_context_ends() -> None:
    answers = NativeEngine(load("llama")).generate([[5] * 60, [5, 6]], Sampling(max_new_tokens=10, stop_ids=()))
    assert [len(a.ids) for a in answers] == [4, 10]
    assert answers[0].finish_reason == "length"


@pytest.mark.parametrize("prompt", [[], [5] * 64])
def test_prompts_that_leave_nothing_to_answer_are_refused(prompt: list[int]) -> None:
    with pytest.raises(InputError, match="prompt 1 has"):
        NativeEngine(load("llama")).generate([[3], prompt], Sampling())


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}]
)
def test_impossible_sampling_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["llama", "gemma2", "mamba2"])
def test_score_equals_a_whole_forward_of_each_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORE_TOKENS, "cpu", 160)
    loaded = load(name)
    asked = [*prompts(3 if name == "mamba2" else 7, longest=30), [4]]
    found = NativeEngine(loaded).score([row(ids) for ids in asked])
    for ids, logp in zip(asked, found, strict=True):
        want = loaded.model.eval()(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        want = want[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]
        assert logp[0] == 0 and logp.dtype == np.float32
        assert np.allclose(logp[1:], want.detach().numpy(), atol=1e-4)


def test_the_engine_sees_weights_that_training_changes_in_place() -> None:
    loaded = load("llama")
    engine = NativeEngine(loaded)
    before = engine.score([row([3, 4, 5])])[0]
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.mul_(0.5)
    assert not np.allclose(before, engine.score([row([3, 4, 5])])[0])
    assert loaded.model.training  # the trainer's own tree stays as it was


def test_top_p_leaves_out_the_tail_and_keeps_the_token_that_reaches_it() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(4000, 1)
    token, logp = choose(logits, [Sampling(temperature=1.0, top_p=0.7)] * 4000, np.arange(4000), ZERO)
    share = torch.bincount(token, minlength=4) / 4000
    assert share[2:].sum() == 0
    assert abs(share[0].item() - 0.5 / 0.8) < 0.03
    assert torch.allclose(logp.exp(), torch.tensor([0.5, 0.3])[token], atol=1e-6)  # before top-p


def test_uniform_draws_are_uniform_and_differ_by_seed_row_and_step() -> None:
    u = uniform(np.full(20_000, 1, np.uint64), np.arange(20_000), np.full(20_000, 3)).numpy()
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.005
    every = np.array([(s, r, t) for s in (0, 1) for r in (0, 1) for t in (0, 1)])
    assert len(set(uniform(every[:, 0].astype(np.uint64), every[:, 1], every[:, 2]).tolist())) == 8


def test_the_engine_alone_reads_transformers_in_a_hardened_environment() -> None:
    code = (
        "import bloomery.engine.native\nfrom transformers.integrations import hub_kernels\n"
        "from transformers.utils import logging\nprint(hub_kernels._kernels_enabled, logging.is_progress_bar_enabled())"
    )
    env = {"PYTHONPATH": str(Path(bloomery.__file__).parents[1]), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "False False", done.stderr


@pytest.mark.parametrize("name", ["llama", "mamba2"])
def test_it_is_told_how_many_rows_are_over(name: str) -> None:
    engine, told = NativeEngine(load(name), batch_rows=2), list[tuple[int, int]]()
    engine.told = lambda done, of: told.append((done, of))
    engine.generate(prompts(5), Sampling(3, stop_ids=()))
    assert [*dict.fromkeys(done for done, _ in told)] == sorted({done for done, _ in told})
    assert told[-1] == (5, 5) and (2, 5) in told
    told.clear()
    engine.score([TokenRow(np.array(ids, np.int32), {}, str(n), "s", str(n)) for n, ids in enumerate(prompts(3))])
    assert told[-1] == (3, 3)
