"""`python -m heldout.data.influence`."""

from heldout.data.influence.command import main

if __name__ == "__main__":
    main()
