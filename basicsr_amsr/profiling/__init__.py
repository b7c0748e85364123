"""Counting (MACs, parameters, memory) and timing."""
