"""SFM, "Stochastic Frequency Masking to Improve Super-Resolution and Denoising Networks" (ECCV 2020)."""
from basicsr_amsr.sfm.masking import StochasticFrequencyMasking

__all__ = ['StochasticFrequencyMasking']
