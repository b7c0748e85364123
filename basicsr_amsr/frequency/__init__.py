"""What a network restores, by degradation and by spatial frequency."""
