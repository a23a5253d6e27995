"""Reinforcement learning: tasks are answered, here or by orchestrators; answers are rewarded and become token rows."""
