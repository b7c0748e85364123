"""What the methods need to know of a network family, and how a backbone is registered."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY, lookup


class BaseNet(Protocol):
    """The base net of MGA: a super-resolution network that can be stopped at its last LR feature."""

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """RGB image (N, 3, H, W) in 0–1 to the coarse feature (N, C, H, W)."""

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Coarse feature (N, C, H, W), and the image it came from, to the coarse image (N, 3, sH, sW) in 0–1."""


class MGASplit(NamedTuple):
    """A network cut in two for MGA (ECCV 2022, section 3).

    `base` is a BaseNet. `refine` maps feature patches with a halo of one, (N, C, h + 2, w + 2), to image patches
    (N, 3, s·h, s·w) in 0–1, for any h, w ≥ 1: its unpadded convolution consumes the halo. `num_feat` is C.
    """

    base: nn.Module
    refine: nn.Module
    num_feat: int


@dataclass(frozen=True)
class Backbone:
    """A network family with the defaults of its publication.

    Args:
        name: what stands in `backbone: {type: NAME}`.
        build: `build(**options)` returns the network; inputs and outputs are RGB in 0–1 (gray where `channels` is 1).
        defaults: the published options, overridden by those in the YAML.
        scales: the upscaling factors it exists for (1 for denoising).
        source: the publication.
        channels: image channels.
        size_multiple: the network wants height and width as multiples of this (window size), else 1.
        convert: maps a public checkpoint's keys to this network's, after wrappers and prefixes are taken off.
        split: `split(base_blocks=…, refine_blocks=…, **options)` returns an MGASplit; None where MGA does not support it.
        split_blocks: the paper's (base_blocks, refine_blocks).
        origin: the module that registered it.
    """

    name: str
    build: Callable[..., nn.Module]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scales: tuple[int, ...] = (2, 3, 4)
    source: str = ''
    channels: int = 3
    size_multiple: int = 1
    convert: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None
    split: Callable[..., MGASplit] | None = None
    split_blocks: tuple[int, int] | None = None
    origin: str = ''

    @property
    def methods(self) -> tuple[str, ...]:
        """The acceleration methods that know how to treat this family."""
        return ('mga',) if self.split else ()

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Published defaults overridden by `options`; a UserError for a scale that the family does not have."""
        merged = {**self.defaults, **options}
        if 'upscale' in merged and merged['upscale'] not in self.scales:
            known = ', '.join(map(str, self.scales))
            raise UserError(f'{self.name}: upscale {merged["upscale"]} is not among {known}.')
        return merged

    def create(self, **options: Any) -> nn.Module:
        """The network with the published defaults overridden by `options`."""
        try:
            return self.build(**self.options(options))
        except TypeError as error:
            raise UserError(f'backbone {self.name}: {error}') from error


def register_backbone(name: str | None = None, build: Callable[..., nn.Module] | None = None, **spec: Any) -> Any:
    """Register a backbone, as a call or as a class decorator.

    `@register_backbone(defaults={...}, scales=(2, 4))` on an nn.Module class, or
    `register_backbone('NAME', build=callable, ...)`. Keyword arguments are those of `Backbone`. A class whose name is
    still free in BasicSR's ARCH registry is registered there too, so that `network_g: {type: NAME}` works.

    Raises:
        UserError: the name is taken.
    """
    if build is None:
        def decorate(cls: type[nn.Module]) -> type[nn.Module]:
            register_backbone(name or cls.__name__, build=cls, **spec)
            return cls

        return decorate
    assert name is not None
    if name in BACKBONE_REGISTRY:
        raise UserError(f"The backbone name '{name}' is taken by {BACKBONE_REGISTRY.get(name).origin}.")
    spec.setdefault('origin', getattr(build, '__module__', ''))
    backbone = Backbone(name=name, build=build, **spec)
    BACKBONE_REGISTRY._do_register(name, backbone)
    if isinstance(build, type) and name not in ARCH_REGISTRY:
        ARCH_REGISTRY._do_register(name, build)
    return backbone


def get_backbone(name: str) -> Backbone:
    """The registered backbone, or a UserError that lists the near names."""
    return lookup(BACKBONE_REGISTRY, name)
