"""Reinforcement learning: what rollouts are worth."""
