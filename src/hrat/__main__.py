"""`python -m hrat`, and with it `torchrun ... -m hrat train ...`."""

from hrat.cli import main

if __name__ == "__main__":
    main()
