"""A model built without weights and filled by slices is the model that loads whole, unsaved buffers included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import PACKED, PADDED, tiny

from bloomery.core.errors import InputError
from bloomery.models.load import load_model, meta_model
from bloomery.models.meta import allocate, load_meta, on_meta, shallow
from bloomery.models.slices import read_model

RENAMED = {"gpt_neox", "qwen3_moe"}
"""Their tensors bear other names in files; experts lie there one by one and are joined while loading."""
LOST = {"falcon_h1"}
"""Its multipliers lie in no file, and its code does not make them again."""


@pytest.mark.parametrize("architecture", sorted({*PACKED, *PADDED} - RENAMED - LOST))
def test_a_model_filled_from_meta_is_the_one_that_loads_whole(architecture: str, tmp_path: Path) -> None:
    tiny(architecture, check=False).model.save_pretrained(tmp_path)  # type: ignore[operator]
    whole, filled = load_model(tmp_path), load_meta(tmp_path)
    assert on_meta(filled.model) and not on_meta(whole.model)
    allocate(filled.model, torch.device("cpu"))
    tensors = {**dict(filled.model.named_parameters()), **dict(filled.model.named_buffers())}
    with torch.no_grad():
        for name, piece in read_model(tmp_path, filled.model, {}):
            tensors[name].copy_(piece)
    wanted = {**dict(whole.model.named_parameters()), **dict(whole.model.named_buffers())}
    assert tensors.keys() == wanted.keys()
    assert not [name for name in wanted if not torch.equal(tensors[name], wanted[name])]
    assert (filled.packing, filled.head.scale, filled.head.softcap) == (
        whole.packing,
        whole.head.scale,
        whole.head.softcap,
    )


@pytest.mark.parametrize("architecture", sorted(RENAMED))
def test_a_folder_that_cannot_be_sliced_loads_whole(architecture: str, tmp_path: Path) -> None:
    tiny(architecture, check=False).model.save_pretrained(tmp_path)  # type: ignore[operator]
    assert not on_meta(load_meta(tmp_path).model)
    with pytest.raises(InputError, match="slices"):
        list(read_model(tmp_path, meta_model(tmp_path), {}))


@pytest.mark.parametrize("architecture", sorted(LOST))
def test_an_architecture_that_would_lose_buffers_loads_whole(architecture: str, tmp_path: Path) -> None:
    tiny(architecture, check=False).model.save_pretrained(tmp_path)  # type: ignore[operator]
    assert not on_meta(load_meta(tmp_path).model)


def test_the_tried_model_has_a_layer_of_each_kind() -> None:
    kinds = ["sliding_attention"] * 5 + ["full_attention"] + ["sliding_attention"] * 6
    assert shallow({"num_hidden_layers": 12, "layer_types": kinds}) == {
        "num_hidden_layers": 6,
        "layer_types": kinds[:6],
    }
    assert shallow({"num_hidden_layers": 32})["num_hidden_layers"] == 2
