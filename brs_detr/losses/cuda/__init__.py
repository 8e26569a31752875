"""The ranking losses as Triton kernels: all rows at once, without waiting for the device."""
