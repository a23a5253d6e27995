"""Recipes (short, by hand) become plans (complete, by machine) become runs."""
