"""The ranking losses in plain PyTorch, one row after the other, in float64. Made for a CPU, and run on any device."""
