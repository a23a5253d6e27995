"""Evaluation and proof: what a model gained and what it lost, each with an interval."""
