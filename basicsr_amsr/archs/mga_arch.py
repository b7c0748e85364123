"""Registers the mask-guided network as `network_g: {type: MGA, …}`."""
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.registry import ARCH_REGISTRY

ARCH_REGISTRY.register(MGA)
