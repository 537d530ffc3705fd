"""A small language model that needs no key and no download, run as a child process.

The child (`child.py`) serves llama.cpp's OpenAI-compatible API on loopback; `supervisor.py` keeps it
running. Requests go through the adapter of `service/providers/openai`, as for any other provider.
"""
