"""One dial gives a whole model: the sizes of published ones, built by transformers, packed rows exact."""

from __future__ import annotations

from typing import get_args

import pytest

from bloomery.core.errors import InputError
from bloomery.families import scaffold as derive
from bloomery.families.scaffold import Shape, scaffold

SHAPES = get_args(Shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_a_scaffold_builds_in_transformers_with_as_many_weights_as_it_says(shape: Shape, depth: int) -> None:
    from bloomery.models.load import new_model

    made = scaffold(shape, 500, depth=depth, context=128, tokens={"eos_token_id": 0, "pad_token_id": 3})
    loaded = new_model(made.config, seed=0)
    assert sum(p.numel() for p in loaded.model.parameters()) == made["parameters"]
    assert loaded.packing == "packed", loaded.why
    assert loaded.config.eos_token_id == 0
    assert type(loaded.model).__name__ == made.config["architectures"][0]


def test_every_layer_of_olmo3_turns_by_the_theta_that_was_derived() -> None:
    from bloomery.models.load import config_of

    config = config_of(scaffold("olmo3", 500, depth=5).config)
    assert {own["rope_theta"] for own in config.rope_parameters.values()} == {10_000.0}
    assert config.layer_types == [*["sliding_attention"] * 3, "full_attention", "full_attention"]


def test_head_width_and_width_follow_from_depth_as_in_nanochat() -> None:
    assert [derive.width(depth) for depth in (1, 12, 20, 32, 33)] == [64, 768, 1280, 2048, 2176]
    assert [derive.head_width(depth) for depth in (31, 32)] == [64, 128]


def test_key_value_heads_divide_the_heads_in_groups_of_at_most_four() -> None:
    assert [derive.kv_heads(heads) for heads in (1, 6, 7, 9, 12, 32)] == [1, 2, 7, 3, 3, 8]


def test_the_feed_forward_width_is_a_multiple_of_64_not_below_8_3_of_the_width() -> None:
    for hidden in range(64, 4097, 64):
        assert derive.ffn(hidden) % 64 == 0 and 0 <= derive.ffn(hidden) - hidden * 8 / 3 < 64


@pytest.mark.parametrize("asked", [1_000_000, 135_000_000, 1_700_000_000, 7_000_000_000])
def test_a_size_gives_the_depth_whose_model_is_nearest(asked: int) -> None:
    depth = derive.depth_of(asked, "llama", 32_768 if asked > 10_000_000 else 1024)
    vocabulary = 32_768 if asked > 10_000_000 else 1024
    near = [derive.parameter_count("llama", d, vocabulary) / asked for d in (max(1, depth - 1), depth, depth + 1)]
    assert max(near[1], 1 / near[1]) == min(max(ratio, 1 / ratio) for ratio in near)


def test_rate_and_batch_are_those_of_the_deepseek_law() -> None:
    flop = 1e20
    assert derive.peak_lr(flop) == pytest.approx(0.3118 * flop**-0.125, rel=5e-3)
    assert derive.batch_tokens(flop, 1) == pytest.approx(0.2920 * flop**0.3271, abs=1)
    assert derive.batch_tokens(flop, 4096) % 4096 == 0
    assert derive.peak_lr(1e13) == derive.LARGEST_PEAK


def test_the_law_is_within_two_and_a_half_times_of_published_peaks() -> None:
    published = {135e6: 3e-3, 1.28e9: 4e-4, 7.3e9: 3e-4, 32e9: 6e-4}  # SmolLM2, OLMo 2 1B and 7B, Olmo 3 32B
    for parameters, peak in published.items():
        own = derive.peak_lr(derive.compute(int(parameters), derive.horizon(int(parameters))))
        assert 1 / 2.5 < own / peak < 2.5


def test_the_horizon_is_twenty_tokens_a_parameter_and_the_context_may_be_set() -> None:
    made = scaffold("qwen3", 4096, depth=4, context=8192)
    assert made["horizon"] == 20 * made["parameters"]
    assert made["context"] == made.config["max_position_embeddings"] == 8192
    assert made["rope_theta"] == 500_000.0
    assert made.values["context"].why == "`data.context`"


@pytest.mark.parametrize(
    ("dials", "said"),
    [
        ({}, "one dial"),
        ({"depth": 2, "parameters": 10**6}, "one dial"),
        ({"depth": 0}, "no depth"),
        ({"depth": 129}, "no depth"),
        ({"parameters": 1_000_000}, "smallest model"),
        ({"parameters": 10**13}, "more than depth 128"),
    ],
)
def test_a_dial_that_gives_no_model_is_refused(dials: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        scaffold("llama", 32_768, **dials)  # type: ignore[arg-type]
