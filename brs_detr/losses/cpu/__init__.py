"""The ranking losses in plain PyTorch, row by row, in float64. Tuned for the CPU; they run on any device."""
