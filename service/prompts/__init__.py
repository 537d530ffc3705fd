"""System prompt templates, rendered where they can do no harm."""
