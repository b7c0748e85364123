"""Networks of which skipped pixels are not computed, by the native kernels: the dense form's programs on lists."""
