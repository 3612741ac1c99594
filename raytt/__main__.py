"""``python -m raytt``: the command line."""

from raytt.cli.main import main

if __name__ == "__main__":
    main()
