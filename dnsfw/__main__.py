"""`python -m dnsfw` is `dnsfw`."""

from dnsfw.cli.main import main

if __name__ == "__main__":
    main()
