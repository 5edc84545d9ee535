"""`python -m medshards` is the command `medshards`."""

from medshards.cli import main

if __name__ == "__main__":
    main()
