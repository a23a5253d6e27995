"""The one training loop, blind to stage and method: TokenRows in, checkpoints and events out.

Read `loop.py` first, then `step.py`, `module.py` and `loss.py`.
"""
