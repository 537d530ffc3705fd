"""The RPCs: validation, interceptor, status table, and the two services."""
