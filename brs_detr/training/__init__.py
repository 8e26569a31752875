"""Training: the loop, what happens at each step, and what a run leaves and goes on from."""
