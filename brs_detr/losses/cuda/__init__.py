"""The ranking losses as Triton kernels: all rows at once, without synchronising."""
