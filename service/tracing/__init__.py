"""What is noted of a call while it is answered, so that a trace can be made of it; knows nothing of who takes traces."""
