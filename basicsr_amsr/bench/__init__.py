"""Times networks in many forms against the fastest dense one, in one run."""
