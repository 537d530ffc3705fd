"""Stored completions: a database, what is written to it, and what is read from it."""
