"""`python -m clinlm`: see `clinlm.cli.main`."""

from clinlm.cli.main import main

if __name__ == "__main__":
    main()
