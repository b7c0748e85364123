"""The dense form: a graph, scheduled once for a kind of size, run by the native kernels; torch does the rest."""
