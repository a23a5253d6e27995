"""Bloomery: build your own foundation model from an open model family's stage checkpoints.

The public verbs live in `bloomery.api` and are re-exported here lazily, so that `import bloomery`
stays free of torch.
"""

__version__ = "0.1.0"
