"""What was made from what: run folders, the index over them, provenance, model cards. Imports only core."""
