"""Open model families by stage: checkpoints, the learning rate each was saved at, curated data, evaluation."""
