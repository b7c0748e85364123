"""Units and whole networks computed at the active patches alone, by torch."""
