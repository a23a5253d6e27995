"""Serving a model: an endpoint, and the policy that guards it."""
