"""What a model folder asks for in vain is said."""

from __future__ import annotations

import json
from pathlib import Path

from bloomery.recipes.ignored import ignored


def test_pickles_beside_the_weights_and_a_router_loss_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "output_router_logits": False}))
    assert list(ignored(tmp_path)) == []
    (tmp_path / "training_args.bin").touch()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "output_router_logits": True}))
    said = list(ignored(tmp_path))
    assert len(said) == 2 and "training_args.bin" in said[0] and "output_router_logits" in said[1]
