"""Parley beside other gateways, measured in one run: `python -m bench.compare`."""
