"""Tiny random models that show a wrong attention: strong weights, short windows, tight caps, live sinks."""

from __future__ import annotations

from typing import Any

from bloomery.models.load import Loaded, new_model

BASE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 6
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
PACKED: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": WINDOW},
    "qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "olmo2": {},
    "olmo3": {"sliding_window": WINDOW},
    "smollm3": {},
    "gemma2": {"sliding_window": WINDOW, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
    "gemma3_text": {"sliding_window": WINDOW, "final_logit_softcapping": 2.0},
    "apertus": {},
    "phi3": {"sliding_window": WINDOW},
    "gpt_neox": {"num_key_value_heads": 4},
    "granite": {"logits_scaling": 3.0},
    "gpt_oss": {"sliding_window": WINDOW, **EXPERTS},
    "cohere": {"logit_scale": 0.3},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
PADDED: dict[str, dict[str, Any]] = {
    "stablelm": {},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "bloom": {"n_head": 4, "n_layer": 2},
    "falcon_h1": {
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "lm_head_multiplier": 0.5,
    },
}


def tiny(architecture: str, check: bool = True) -> Loaded:
    """A tiny model of an architecture, in evaluation mode."""
    settings = {**BASE, "model_type": architecture, **PACKED.get(architecture, {}), **PADDED.get(architecture, {})}
    loaded = new_model(settings, seed=0, check=check)
    loaded.model.eval()
    return loaded
