"""From a call to the targets of its model: who is asked, how often, how long, and what is told of it."""
