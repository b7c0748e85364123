"""Registers accelerated networks as `network_g: {type: AMSR, …}`."""
from basicsr_amsr.amsr.amsr_network import AMSR
from basicsr_amsr.registry import ARCH_REGISTRY

ARCH_REGISTRY.register(AMSR)
