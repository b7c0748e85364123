"""What computes a convolution of listed rows: torch operators, or Triton kernels."""
