"""Degradations of images, batched in torch and registered as transforms: blur, downscaling, noise, JPEG."""
from basicsr_amsr.data.degradations import blur, compression, downscale, noise

__all__ = ['blur', 'compression', 'downscale', 'noise']
