"""A network as a small typed graph: traced once, then run by any executor."""
