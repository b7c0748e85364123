"""Whether skipping is faster than computing everything: measured on the machine that asks, and kept."""
