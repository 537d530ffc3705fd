"""A model's turns: has it answer, runs the server-side tools that it calls, and has it go on."""
