"""What answers are made of: pieces joined to a whole, and the ids that they get. Pure."""
