"""`python -m bloomery.cli`: what torchrun starts in each process."""

from bloomery.cli import main

if __name__ == "__main__":
    main()
