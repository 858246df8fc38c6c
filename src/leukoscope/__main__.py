"""`python -m leukoscope` is the command `leukoscope`."""

from leukoscope.cli import main

if __name__ == "__main__":
    main()
