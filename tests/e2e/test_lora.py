"""Low-rank adapters: published in peft's format, and the same model merged as not merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import bloomery

from bloomery.models.load import load_model

IDS = torch.arange(40).reshape(2, 20) * 97 % 4096


@pytest.mark.parametrize("more", [("schedule.lr=0.05",), ("schedule.lr=0.005", "lora.rslora=true", "lora.plus=16")])
def test_an_adapter_is_published_beside_its_merged_model(here: Path, more: tuple[str, ...]) -> None:
    done = bloomery("run", "recipe.yaml", "name=low", "method=lora", "lora.rank=4", *more, within=here)
    assert done.status == 0, done.err
    run = here / "runs" / "low"
    described = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert (described["use_rslora"], described["lora_alpha"]) == (len(more) > 1, 16.0 if len(more) > 1 else 8.0)
    assert (described["peft_type"], described["r"], described["base_model_name_or_path"]) == ("LORA", 4, "tiny")

    assert bloomery("merge", "low", "merged", within=here).out == "wrote merged\n"
    merged, exported = (load_model(folder).model.eval() for folder in (here / "merged", run / "model"))
    with torch.no_grad():
        logits = {"merged": merged(IDS).logits, "exported": exported(IDS).logits}
        logits["unmerged"] = _with_peft(here / "tiny", run / "adapter")
        start = load_model(here / "tiny").model.eval()(IDS).logits
    assert torch.equal(logits["merged"], logits["exported"])
    # the merged weights are written in bf16, so they are compared with the adapter's own at that precision
    moved = (logits["unmerged"] - start).abs().max()
    assert moved > 0.02
    assert (logits["merged"] - logits["unmerged"]).abs().max() < 0.1 * moved


def test_merging_changes_no_logit_at_full_precision(here: Path) -> None:
    from bloomery.models.lora import LoraSettings, add_lora, merge_lora

    loaded = load_model(here / "tiny")
    add_lora(loaded.model, LoraSettings(4, 8.0, 0.0, "all-linear"), 0)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
        loaded.model.eval()
        before = loaded.model(IDS).logits
        merge_lora(loaded.model)
        after = loaded.model(IDS).logits
    assert (before - after).abs().max() < 1e-4
    assert (before - load_model(here / "tiny").model.eval()(IDS).logits).abs().max() > 0.1


def test_only_a_run_with_an_adapter_is_merged(after: Path) -> None:
    told = bloomery("merge", "whole", "merged", within=after)
    assert told.status == 2
    assert told.err.startswith("error: `whole` is no run with an adapter\n  fix: train one with `method: lora`")


def _with_peft(base: Path, adapter: Path) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    logits: torch.Tensor = model.eval()(IDS).logits
    return logits
