"""Which load balancing of Envoy's spreads long, uneven streams best: `python -m bench.balancing`."""
