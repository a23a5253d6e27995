"""From the user's files to the rows of a step: sources > shapes > render > store > rows > blend > loader.

Each arrow is one module; plain data passes between them. Nothing here imports torch or transformers.
"""
