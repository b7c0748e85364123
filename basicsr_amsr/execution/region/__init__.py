"""A whole network computed at the active tiles alone, from its first convolution to its image."""
