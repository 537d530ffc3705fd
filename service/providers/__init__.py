"""Adapters of providers, and the seams they stand between."""
