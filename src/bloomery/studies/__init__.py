"""Work made of several runs: a queue of experiments, and what is learnt from them together."""
