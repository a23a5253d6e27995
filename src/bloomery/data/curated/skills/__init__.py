"""Small skills with exact checkers, generated without end from a seed."""
