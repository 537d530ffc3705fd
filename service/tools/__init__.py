"""Server-side tools: a project's MCP servers."""
