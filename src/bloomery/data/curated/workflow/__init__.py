"""Tapline, the invented workflow language of the invented Ashgill Works: the demonstration domain.

A program is a few lines over small tables (`charge orders`, `sift total over 50`, `tally`). The language
exists nowhere else, so a model can know it only from our training, and every answer can be checked by
running it. `data.py` yields the rows; read `grammar.py`, `parser.py`, `interpreter.py`, `check.py` in that order.
"""
