"""The client whose answers are timed: `python -m bench.compare.client`, a process of its own.

h2load drives what is counted only; it can't keep a rate over HTTP/1.1, and knows nothing of events.
"""
