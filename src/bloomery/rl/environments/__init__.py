"""Environments that rollouts are made in, and the processes that they run in."""
