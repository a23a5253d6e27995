"""Reinforcement learning: sessions, the gateway that orchestrators talk to, and what trains on them."""
