"""Adapter of OpenAI-compatible providers."""
