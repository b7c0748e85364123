"""Triton kernels. Nothing here but `interpreter` is imported before a kernel is to run."""
