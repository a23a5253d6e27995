"""Reinforcement learning: tasks are answered, answers graded, and what they are worth becomes token rows."""
