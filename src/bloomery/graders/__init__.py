"""Graders: score one answer. The same object is an evaluation metric, a reward and a guard."""
