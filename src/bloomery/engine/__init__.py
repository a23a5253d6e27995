"""Generation and scoring: one engine for evaluation, rollouts and serving."""
