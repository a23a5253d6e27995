"""A model that was found, loaded for use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bloomery.core.files import verify_ours
from bloomery.recipes.find import Found
from bloomery.recipes.start import read_config

if TYPE_CHECKING:
    from bloomery.models.load import Loaded


def opened(found: Found) -> Loaded:
    """The model, its bytes verified, on a GPU where there is one."""
    from bloomery.models.load import load_model, load_tokenizer, new_model
    from bloomery.train.parallel import pick_device

    device = str(pick_device())
    verify_ours(found.folder)
    if not found.scaffold:
        return load_model(found.folder, device=device)
    loaded = new_model(read_config(found.folder), found.seed, device=device)
    loaded.tokenizer = load_tokenizer(str(found.tokenizer))
    return loaded
