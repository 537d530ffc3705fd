"""Projects: which model answers, by whose system prompt, in which arm of a campaign. Pure."""
