"""How a run becomes processes: this one, or several under torchrun. Knows nothing of what they run."""
