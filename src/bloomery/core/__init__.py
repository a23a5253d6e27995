"""Nouns that cross package borders: rows, quantities, errors, files, events. Imports no other package of ours."""
