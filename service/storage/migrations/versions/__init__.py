"""One module per step, named by its number. Steps that were released are never changed."""
