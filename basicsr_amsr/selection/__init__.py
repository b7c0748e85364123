"""Where is the image hard? Pure tensor maths that knows no network."""
from basicsr_amsr.selection import high_frequency_mask, topk  # noqa: F401  # they register themselves
