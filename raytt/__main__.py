"""``python -m raytt``: the command line."""

from raytt.cli import main

if __name__ == "__main__":
    main()
