"""Networks that skip pixels, by the native kernels: the programs of the dense form, run on lists of patches."""
