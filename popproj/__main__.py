"""``python -m popproj``: the same as the command ``popproj``."""

from popproj.cli import main

if __name__ == "__main__":
    main()
