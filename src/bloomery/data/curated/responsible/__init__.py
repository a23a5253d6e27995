"""Rows that measure responsible behaviour: hand-written or from templates, and mild on purpose."""
