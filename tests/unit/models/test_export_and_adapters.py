"""Exports are proven before they appear; adapters are peft's; slices are what the whole tensors hold."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bloomery.core.errors import DamagedError, InputError
from bloomery.core.files import verify_folder
from bloomery.models import export
from bloomery.models.export import export_model
from bloomery.models.load import Loaded, load_model, meta_model, new_model
from bloomery.models.lora import LoraSettings, add_lora, load_lora, merge_lora, save_lora
from bloomery.models.qlora import require_qlora
from bloomery.models.slices import read_model, read_slices

SETTINGS = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "tie_word_embeddings": True,
}
IDS = torch.arange(9)[None] + 5


def tiny(seed: int = 0) -> Loaded:
    loaded = new_model(SETTINGS, seed, check=False)
    loaded.model.eval()
    return loaded


def logits(loaded: Loaded) -> Tensor:
    loaded.model.eval()
    with torch.no_grad():
        return loaded.model(input_ids=IDS).logits


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_weights_are_as_open_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    loaded, before = tiny(), os.umask(umask)
    try:
        export_model(loaded, tmp_path / "model")
        add_lora(loaded.model, LoraSettings(rank=2), 0)
        save_lora(loaded.model, tmp_path / "adapter", base="base")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*/*")}
    assert {"model.safetensors", "adapter_model.safetensors"} < set(modes)
    assert set(modes.values()) == {mode}


def test_a_seed_gives_one_model() -> None:
    assert torch.equal(logits(tiny(1)), logits(tiny(1)))
    assert not torch.equal(logits(tiny(1)), logits(tiny(2)))


def test_every_load_of_an_export_gives_the_same_logits(tmp_path: Path) -> None:
    loaded = tiny()
    export_model(loaded, tmp_path / "m", dtype="float32", card="# Card\n", about={"run": "r"})
    assert torch.equal(logits(load_model(tmp_path / "m")), logits(loaded))
    assert verify_folder(tmp_path / "m") == {"kind": "model", "run": "r"}
    assert (tmp_path / "m" / "README.md").read_text() == "# Card\n"
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert "bloomery" not in json.dumps(config)


@pytest.mark.parametrize("vocabulary", [97, 1000])
def test_weights_begin_where_torchs_own_do_so_that_one_token_gives_the_same_logits(
    tmp_path: Path, vocabulary: int
) -> None:
    """A mapped file's tensors begin anywhere, and MKL multiplies a single token by them in another order."""
    loaded = new_model(SETTINGS | {"vocab_size": vocabulary, "tie_word_embeddings": False}, 0, check=False)
    loaded.model.eval()
    export_model(loaded, tmp_path / "m", dtype="float32")
    again = load_model(tmp_path / "m")
    assert all(parameter.data_ptr() % 64 == 0 for parameter in again.model.parameters())
    again.model.eval()
    with torch.no_grad():
        for token in range(8):
            one = torch.tensor([[token]])
            assert torch.equal(again.model(input_ids=one).logits, loaded.model(input_ids=one).logits)


def test_an_export_holds_the_given_state_in_bf16_and_leaves_the_model_alone(tmp_path: Path) -> None:
    loaded = tiny()
    before = {n: p.clone() for n, p in loaded.model.named_parameters()}
    state = {n: p.detach() + 1 for n, p in loaded.model.named_parameters()}
    export_model(loaded, tmp_path / "m", state=state, generation={"eos_token_id": [2, 7]})
    again = dict(load_model(tmp_path / "m", dtype=torch.bfloat16).model.named_parameters())
    assert all(torch.equal(again[n], v.bfloat16()) for n, v in state.items())
    assert all(torch.equal(p, before[n]) for n, p in loaded.model.named_parameters())
    assert json.loads((tmp_path / "m" / "generation_config.json").read_text())["eos_token_id"] == [2, 7]


def test_an_export_that_reads_back_otherwise_never_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export.load_weights

    def flipped(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        model = real(folder, dtype)
        next(model.parameters()).data[3, 3] += 0.5
        return model

    monkeypatch.setattr(export, "load_weights", flipped)
    with pytest.raises(DamagedError, match="reads back otherwise"):
        export_model(tiny(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_an_export_of_unknown_dtype_or_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dtype of an export"):
        export_model(tiny(), tmp_path / "m", dtype="int3")
    with pytest.raises(InputError, match="no parameter of the model"):
        export_model(tiny(), tmp_path / "m", state={"nothing": torch.zeros(1)})


def test_missing_and_damaged_weights_are_refused_not_invented(tmp_path: Path) -> None:
    export_model(tiny(), tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(DamagedError, match="lacks 1 of the model's weights"):
        load_model(tmp_path / "m")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises((DamagedError, InputError)):
        load_model(tmp_path / "m")


def test_fresh_adapters_change_nothing_and_alone_are_trained() -> None:
    loaded = tiny()
    before = logits(loaded)
    names = add_lora(loaded.model, LoraSettings(rank=4), seed=1)
    assert torch.equal(logits(loaded), before)
    assert {n for n, p in loaded.model.named_parameters() if p.requires_grad} == set(names)
    assert len(names) == 2 * 2 * 7
    assert not any("lm_head" in n for n in names)


@pytest.mark.parametrize("rslora", [False, True])
def test_saved_adapters_are_read_by_us_and_by_peft(tmp_path: Path, rslora: bool) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = tiny()
    export_model(loaded, tmp_path / "base", dtype="float32")
    add_lora(loaded.model, LoraSettings(rank=4, alpha=8, targets=("q_proj", "up_proj"), rslora=rslora), seed=1)
    for name, parameter in loaded.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = logits(loaded)
    save_lora(loaded.model, tmp_path / "adapter", base="base")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["use_rslora"] is rslora
    layer = loaded.model.get_submodule("model.layers.0.self_attn.q_proj")
    assert layer.scaling["default"] == (4.0 if rslora else 2.0)  # 8 / sqrt(4), 8 / 4
    ours = load_model(tmp_path / "base")
    load_lora(ours.model, tmp_path / "adapter")
    assert torch.equal(logits(ours), adapted)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(input_ids=IDS).logits, adapted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_adapters_leave_a_plain_model_with_the_same_logits(tmp_path: Path, rslora: bool) -> None:
    loaded = tiny()
    add_lora(loaded.model, LoraSettings(rank=4, alpha=8, rslora=rslora), seed=1)
    for name, parameter in loaded.model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = logits(loaded)
    with pytest.raises(InputError, match="still has adapters"):
        export_model(loaded, tmp_path / "m")
    merge_lora(loaded.model)
    torch.testing.assert_close(logits(loaded), adapted, rtol=1e-4, atol=1e-4)
    assert [n for n, _ in loaded.model.named_parameters()] == [n for n, _ in tiny().model.named_parameters()]
    export_model(loaded, tmp_path / "m", dtype="float32")
    assert torch.equal(logits(load_model(tmp_path / "m")), logits(loaded))


def test_adapters_of_another_base_or_target_are_refused(tmp_path: Path) -> None:
    loaded = tiny()
    with pytest.raises(InputError, match="do not fit the model"):
        add_lora(loaded.model, LoraSettings(targets=("no_such_layer",)), seed=0)
    loaded = tiny()
    add_lora(loaded.model, LoraSettings(rank=4), seed=1)
    save_lora(loaded.model, tmp_path / "adapter", base="base")
    other = new_model({**SETTINGS, "hidden_size": 48, "num_attention_heads": 6}, 0, check=False)
    with pytest.raises(InputError, match="does not fit the base model"):
        load_lora(other.model, tmp_path / "adapter")


def test_a_4_bit_base_is_refused_on_cpu_naming_what_fits() -> None:
    with pytest.raises(InputError, match="use `method: lora`"):
        require_qlora("cpu")


def test_a_config_that_makes_no_model_is_an_input_error() -> None:
    with pytest.raises(InputError, match="makes no llama model"):
        new_model({**SETTINGS, "num_attention_heads": 5}, 0)
    with pytest.raises(InputError, match="did you mean `llama`"):
        new_model({**SETTINGS, "model_type": "lama"}, 0)


def test_slices_are_pieces_of_the_whole_tensor(tmp_path: Path) -> None:
    loaded = tiny()
    export_model(loaded, tmp_path / "m", dtype="float32")
    weights = dict(loaded.model.named_parameters())
    name = "model.layers.0.mlp.down_proj.weight"
    piece = read_slices(tmp_path / "m", name, (slice(3, 7), slice(0, 5)))
    assert torch.equal(piece, weights[name][3:7, :5])
    model = meta_model(tmp_path / "m")
    assert all(p.device.type == "meta" for p in model.parameters())
    pieces = dict(read_model(tmp_path / "m", model, {name: (slice(0, 16),)}))
    assert pieces.keys() == weights.keys()
    assert torch.equal(pieces[name], weights[name][:16])
    with pytest.raises(DamagedError, match="holds no tensor"):
        read_slices(tmp_path / "m", "no.such.tensor")
