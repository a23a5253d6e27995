"""Merged weights are the formula's to the bit, folders load as any other, and models that do not fit are refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.files import verify_folder
from bloomery.models import merge_rules
from bloomery.models.export import export_model
from bloomery.models.load import load_model, new_model
from bloomery.models.merge import merge_models
from bloomery.models.merge_rules import RULES, Merge

SETTINGS: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3, "tie_word_embeddings": True,
}  # fmt: skip
IDS = torch.arange(9)[None] + 5


def folder(place: Path, seed: int, dtype: str = "float32", **changes: Any) -> Path:
    export_model(new_model(SETTINGS | changes, seed, check=False), place, dtype=dtype)
    return place


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, Path, Path]:
    a, b, x = (folder(tmp_path / name, seed) for seed, name in enumerate("abx"))
    return a, b, x


def tensors(place: Path) -> dict[str, Tensor]:
    return load_file(place / "model.safetensors")


def random(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("by", list(RULES))
def test_no_strength_is_what_the_merge_begins_with_bit_for_bit(three: tuple[Path, Path, Path], by: str) -> None:
    a, b, x = three
    out = a.parent / "out"
    merge_models([a, b], out, Merge(by, 0.0), base=x if by in merge_rules.WITH_BASE else None)
    wanted = x if by in merge_rules.ON_BASE else a
    assert (out / "model.safetensors").read_bytes() == (wanted / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("by", ["linear", "graft"])
def test_full_strength_is_the_other_model_bit_for_bit(tmp_path: Path, by: str, dtype: str) -> None:
    a, b = (folder(tmp_path / str(seed), seed, dtype) for seed in (0, 1))
    merge_models([a, b], tmp_path / "out", Merge(by, 1.0), base=a if by == "graft" else None)
    for name, tensor in tensors(tmp_path / "out").items():
        assert torch.equal(tensor, tensors(b)[name]), name


def test_task_arithmetic_adds_what_each_model_learned(three: tuple[Path, Path, Path]) -> None:
    a, b, x = three
    merge_models([a, b], a.parent / "out", Merge("task", 0.5), base=x)
    one, two, start = tensors(a), tensors(b), tensors(x)
    for name, tensor in tensors(a.parent / "out").items():
        wanted = start[name].double() + 0.5 * (one[name].double() + two[name].double() - 2 * start[name].double())
        assert torch.allclose(tensor.double(), wanted, atol=1e-6), name


def test_a_graft_adds_what_training_changed(three: tuple[Path, Path, Path]) -> None:
    later, trained, start = three
    merge_models([later, trained], later.parent / "out", Merge("graft", 0.6), base=start)
    for name, tensor in tensors(later.parent / "out").items():
        wanted = tensors(later)[name] + 0.6 * (tensors(trained)[name] - tensors(start)[name])
        assert torch.allclose(tensor, wanted, atol=1e-6), name


def ties_by_hand(models: list[np.ndarray], base: np.ndarray, strength: float, part: float) -> np.ndarray:
    """Trim, elect, disjoint mean, entry by entry (arXiv 2306.01708, algorithm 1)."""
    vectors = []
    for model in models:
        vector = (model - base).ravel()
        order = sorted(range(len(vector)), key=lambda i: -abs(vector[i]))
        kept = set(order[: max(1, round(part * len(vector)))])
        vectors.append([v if i in kept else 0.0 for i, v in enumerate(vector)])
    merged = []
    for entries in zip(*vectors, strict=True):
        mass_up = sum(e for e in entries if e > 0)
        mass_down = -sum(e for e in entries if e < 0)
        up = mass_up > mass_down
        agreeing = [e for e in entries if (e > 0 if up else e < 0)]
        merged.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    return base + strength * np.array(merged).reshape(base.shape)


@pytest.mark.parametrize("count", [2, 3])
def test_ties_is_trim_elect_and_disjoint_mean(count: int) -> None:
    base, models = random(7, 11), [random(7, 11, seed=seed + 1) for seed in range(count)]
    found = merge_rules.ties(models, base, 0.7)
    wanted = ties_by_hand([m.double().numpy() for m in models], base.double().numpy(), 0.7, merge_rules.KEPT)
    assert np.allclose(found.numpy(), wanted, atol=1e-6)
    assert not np.allclose(found.numpy(), base.numpy())


def test_slerp_is_the_arc_between_two_vectors() -> None:
    a, b, s = random(5, 8, seed=1), random(5, 8, seed=2), 0.3
    angle = math.acos(float((a * b).sum() / a.norm() / b.norm()))
    wanted = (math.sin((1 - s) * angle) * a + math.sin(s * angle) * b) / math.sin(angle)
    assert torch.allclose(merge_rules.slerp([a, b], None, s), wanted, atol=1e-5)
    unit = [a / a.norm(), b / b.norm()]
    assert abs(merge_rules.slerp(unit, None, s).norm() - 1) < 1e-5 < 1 - merge_rules.linear(unit, None, s).norm()


@pytest.mark.parametrize("scale", [2.0, -1.0, 0.0])
def test_slerp_of_parallel_vectors_is_linear(scale: float) -> None:
    a = random(4, 4)
    assert torch.equal(merge_rules.slerp([a, scale * a], None, 0.25), merge_rules.linear([a, scale * a], None, 0.25))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("by", list(RULES))
def test_a_merged_folder_is_a_model_that_transformers_loads(tmp_path: Path, by: str, tied: bool) -> None:
    a, b, x = (folder(tmp_path / n, s, "bfloat16", tie_word_embeddings=tied) for s, n in enumerate("abx"))
    out = tmp_path / "out"
    merge_models([a, b], out, Merge(by, 0.5), base=x if by in merge_rules.WITH_BASE else None, card="# A merge\n")
    verify_folder(out)
    own = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    ours, by_hand = load_model(out).model.eval(), new_model(SETTINGS | {"tie_word_embeddings": tied}, 9, check=False)
    rule, start = RULES[by], tensors(x) if by in merge_rules.WITH_BASE else None
    for name, parameter in by_hand.model.named_parameters():
        both = [tensors(place)[name].float() for place in (a, b)]
        parameter.data = rule(both, None if start is None else start[name].float(), 0.5).bfloat16().float()
    with torch.no_grad():
        logits = [model(input_ids=IDS).logits for model in (own, ours, by_hand.model.eval())]
    assert torch.allclose(logits[0], logits[1], atol=1e-4) and torch.allclose(logits[0], logits[2], atol=1e-4)
    embedding, head = own.get_input_embeddings().weight, own.get_output_embeddings().weight
    assert (embedding.data_ptr() == head.data_ptr()) is tied
    assert ("lm_head.weight" in tensors(out)) is not tied
    assert {t.dtype for t in tensors(out).values()} == {torch.bfloat16}


def test_shards_are_read_and_written_as_they_lie(three: tuple[Path, Path, Path]) -> None:
    a, b, _ = three
    whole, split = a.parent / "whole", shutil.copytree(a, a.parent / "split")
    (split / "manifest.json").unlink()
    AutoModelForCausalLM.from_pretrained(a).save_pretrained(split, max_shard_size="20KB")
    (split / "model.safetensors").unlink()
    merge_models([a, b], whole, Merge("linear", 0.3))
    merge_models([split, b], a.parent / "sharded", Merge("linear", 0.3))
    files = sorted((a.parent / "sharded").glob("*.safetensors"))
    assert [f.name for f in files] == [f.name for f in sorted(split.glob("*.safetensors"))] and len(files) > 1
    found = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert found.keys() == tensors(whole).keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors(whole).items())
    load_model(a.parent / "sharded")


def test_two_merges_are_the_same_bytes(three: tuple[Path, Path, Path]) -> None:
    a, b, x = three
    for name in ("one", "two"):
        merge_models([a, b], a.parent / name, Merge("ties", 0.5), base=x)
    one, two = ((a.parent / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_models_of_other_makes_are_refused_by_what_differs(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", 0)
    for number, (key, value) in enumerate({"rope_theta": 5e5, "num_hidden_layers": 3, "vocab_size": 64}.items()):
        other = folder(tmp_path / f"other-{number}", 1, **{key: value})
        with pytest.raises(InputError, match="rope" if key == "rope_theta" else key):
            merge_models([a, other], tmp_path / "out", Merge("linear", 0.5))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def changed(place: Path, name: str, tensor: Tensor | None) -> Path:
    """The folder with one tensor replaced or taken out, as somebody's own."""
    found = tensors(place)
    if tensor is None:
        del found[name]
    else:
        found[name] = tensor
    save_file(found, place / "model.safetensors", metadata={"format": "pt"})
    (place / "manifest.json").unlink()
    return place


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (None, f"no tensor `{NORM}`"),
        (torch.ones(31), rf"`{NORM}` has the shape \[32\] in .*/a and \[31\] here"),
        (torch.full((32,), math.nan), f"b: `{NORM}` holds NaN"),
        (torch.full((32,), math.inf), f"b: `{NORM}` holds NaN or infinity"),
    ],
)
def test_tensors_that_cannot_be_merged_are_refused_by_name(tmp_path: Path, tensor: Tensor | None, says: str) -> None:
    a, b = (folder(tmp_path / name, seed) for seed, name in enumerate("ab"))
    with pytest.raises(InputError, match=says):
        merge_models([a, changed(b, NORM, tensor)], tmp_path / "out", Merge("linear", 0.5))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_a_merge_beyond_the_numbers_of_its_type_is_refused(tmp_path: Path) -> None:
    a, b, x = (folder(tmp_path / name, seed) for seed, name in enumerate("abx"))
    changed(b, NORM, torch.full((32,), 3e38))
    changed(x, NORM, torch.full((32,), -3e38))
    with pytest.raises(InputError, match=f"`{NORM}` is NaN or infinite when merged with strength 1"):
        merge_models([a, b], tmp_path / "out", Merge("graft", 1.0), base=x)


def vocabulary(place: Path, tokens: Any, special: dict[str, int] | None = None) -> None:
    added = [{"content": token, "id": number, "special": True} for token, number in (special or {}).items()]
    (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": tokens}, "added_tokens": added}))
    (place / "manifest.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("tokens", "special", "says"),
    [
        ({"an": 1, "the": 0}, {}, "the token 'an' is number 0 in .*/a and 1 here"),
        ({"an": 0, "a": 1}, {}, "the token 'a' is only in the vocabulary of one"),
        ({"an": 0, "the": 1}, {"<end>": 3}, "the token '<end>' is number 2"),
        ([["the", -1.0], ["an", -2.0]], {}, "the token 'an' is number 0 in .*/a and 1 here"),
        (None, {}, "has no vocabulary that could be compared"),
    ],
)
def test_another_vocabulary_is_refused_by_token(
    tmp_path: Path, tokens: Any, special: dict[str, int], says: str
) -> None:
    a, b = (folder(tmp_path / name, seed) for seed, name in enumerate("ab"))
    vocabulary(a, {"an": 0, "the": 1}, {"<end>": 2})
    vocabulary(b, tokens, special)
    with pytest.raises(InputError, match=says):
        merge_models([a, b], tmp_path / "out", Merge("linear", 0.5))


def test_what_has_no_tokenizer_beside_one_that_has_is_refused(tmp_path: Path) -> None:
    a, b = (folder(tmp_path / name, seed) for seed, name in enumerate("ab"))
    vocabulary(a, [["an", -1.0], ["the", -2.0]])
    with pytest.raises(InputError, match="is missing, and the other model has one"):
        merge_models([a, b], tmp_path / "out", Merge("linear", 0.5))
    vocabulary(b, {})
    (b / "tokenizer.json").write_text("[]")
    with pytest.raises(InputError, match="is no tokenizer"):
        merge_models([a, b], tmp_path / "out", Merge("linear", 0.5))


def test_special_tokens_may_be_renamed(tmp_path: Path) -> None:
    a, b = (folder(tmp_path / name, seed) for seed, name in enumerate("ab"))
    vocabulary(a, {"an": 0, "the": 1}, {"<chat>": 2})
    vocabulary(b, {"an": 0, "the": 1}, {"<reserved>": 2})
    merge_models([a, b], tmp_path / "out", Merge("linear", 0.5))
    assert "<chat>" in (tmp_path / "out" / "tokenizer.json").read_text()


def test_a_damaged_folder_of_ours_is_refused(three: tuple[Path, Path, Path]) -> None:
    a, b, _ = three
    data = bytearray((b / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (b / "model.safetensors").write_bytes(data)
    with pytest.raises(DamagedError, match="sha256 differs"):
        merge_models([a, b], a.parent / "out", Merge("linear", 0.5))


@pytest.mark.parametrize(
    ("by", "strength", "models", "base", "says"),
    [
        ("liner", 0.5, 2, False, "did you mean `linear`"),
        ("linear", 1.5, 2, False, "outside 0 to 1"),
        ("graft", -0.1, 2, True, "outside 0 to 2"),
        ("graft", math.nan, 2, True, "outside 0 to 2"),
        ("linear", 0.5, 3, False, "merges two models, and 3 are named"),
        ("ties", 0.5, 1, True, "merges two models or more, and 1 are named"),
        ("task", 0.5, 2, False, "needs `--base`"),
        ("slerp", 0.5, 2, True, "takes no `--base`"),
    ],
)
def test_merges_that_cannot_be_are_refused(by: str, strength: float, models: int, base: bool, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Merge(by, strength).check_models(models, base)
