"""What is published of the weights in training: all of them or the adapters alone, one version at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toys import toy_model

from bloomery.core.errors import InputError
from bloomery.core.files import verify_folder
from bloomery.models.export import export_model
from bloomery.models.load import Loaded, load_model
from bloomery.models.lora import LoraSettings, add_lora, load_lora
from bloomery.rl.published import Published, load_version


@pytest.fixture
def base(tmp_path: Path) -> Path:
    export_model(toy_model(), tmp_path / "base", dtype="float32")
    return tmp_path / "base"


def adapted(base: Path, rank: int = 4) -> Loaded:
    loaded = load_model(base, check=False)
    add_lora(loaded.model, LoraSettings(rank=rank), 1)
    return loaded


def trained(loaded: Loaded) -> dict[str, torch.nn.Parameter]:
    return {name: one for name, one in loaded.model.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_reader_has_the_weights_of_each_version_in_place(base: Path, tmp_path: Path, method: str) -> None:
    loaded = load_model(base, check=False) if method == "full" else adapted(base)
    published = Published(loaded, tmp_path / "policy")
    start = published.start()
    reader = load_model(str(start["model"]), check=False)
    if start["adapter"]:
        load_lora(reader.model, Path(start["adapter"]))
    mine = dict(reader.model.named_parameters())
    places = {name: one.data_ptr() for name, one in mine.items()}
    for version in (7, 8):
        with torch.no_grad():
            for one in trained(loaded).values():
                one.add_(0.1 * torch.randn_like(one))
        folder = published.renew(version)
        assert published.renew(version) == folder == published.newest and verify_folder(folder) is not None
        load_version(reader.model, folder)
        assert all(torch.equal(one, mine[name]) for name, one in loaded.model.named_parameters())
        assert {name: one.data_ptr() for name, one in mine.items()} == places
        [file] = folder.glob("*.safetensors")
        assert sum(t.numel() for t in load_file(file).values()) == sum(one.numel() for one in trained(loaded).values())
        assert [path.name for path in (tmp_path / "policy").glob("v*")] == [folder.name]
    assert (tmp_path / "policy").stat().st_mode & 0o777 == 0o700
    published.close()
    assert not (tmp_path / "policy").exists() and base.is_dir()


def test_adapters_of_another_shape_and_a_base_in_no_folder_are_refused(base: Path, tmp_path: Path) -> None:
    folder = Published(adapted(base), tmp_path / "policy").renew(0)
    with pytest.raises(InputError, match="has another shape"):
        load_version(adapted(base, rank=2).model, folder)
    made = toy_model()
    add_lora(made.model, LoraSettings(rank=2), 1)
    with pytest.raises(InputError, match="has no base that others could read"):
        Published(made, tmp_path / "policy")
