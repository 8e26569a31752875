"""Training: the loop, its hooks, and the checkpoints from which a run resumes."""
