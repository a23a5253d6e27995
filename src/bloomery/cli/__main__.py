"""`python -m bloomery.cli`: what torchrun starts in each process."""

from bloomery.cli import main

main()
