"""Measurements. Each is a program, `python -m bench.NAME`; none is a part of the product or of its tests."""
