"""What storing costs: `python -m bench.storage --records 1000000 --database postgresql`."""
