"""Models: load and export Hugging Face causal LMs safely; packed attention, exact heads, LoRA, parity checks."""

from bloomery.models.guard import harden_environment

harden_environment()  # before transformers is imported anywhere below: its hub client reads these once
