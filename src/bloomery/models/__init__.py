"""Models: load and export Hugging Face causal LMs safely; packed attention, exact heads, LoRA, parity checks."""
