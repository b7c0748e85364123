"""Pictures in, larger pictures out: `Upscaler`, and what `basicsr infer` is made of."""
from basicsr_amsr.infer.upscaler import Upscaler

__all__ = ['Upscaler']
