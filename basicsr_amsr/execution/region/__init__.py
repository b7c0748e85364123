"""A whole network computed at the active patches alone, from its first convolution to its image."""
