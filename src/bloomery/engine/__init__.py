"""Generation and scoring: one engine for evaluation, rollouts and serving."""

import bloomery.models  # noqa: F401 - its first act, to harden the environment, must come before transformers is read
