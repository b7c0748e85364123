"""What `accelerate_` converted in a network, and what it left dense."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class Report:
    """Which modules of a network run sparsely and which stay dense, by their paths.

    Attributes:
        network: name of its class.
        by: 'adapter' of its family; 'structure': the residual blocks that were found in it; 'options': what was given;
            'calibration'; or 'dense': all of it, by the native kernels.
        converted: modules that run sparsely, or by the native kernels, and their classes.
        dense: all other convolutions and linear layers.
        share: share of the weights of convolutions and linear layers that is in `converted`.
        why: with 'dense', why nothing runs by the native kernels.
    """

    network: str
    by: str
    converted: Mapping[str, str]
    dense: tuple[str, ...]
    share: float
    why: str = ''

    @classmethod
    def of(cls, net: nn.Module, by: str, converted: Iterable[str]) -> Report:
        """The report of a network of which the modules at these paths are converted."""
        modules = dict(net.named_modules())
        paths = list(converted)
        inside = {id(module) for path in paths for module in modules[path].modules()}
        layers = {path: module for path, module in modules.items()
                  if isinstance(module, LAYERS)}
        weights = {path: layer.weight.numel() for path, layer in layers.items()}
        dense = tuple(path for path, layer in layers.items() if id(layer) not in inside)
        total = sum(weights.values())
        share = 1 - sum(weights[path] for path in dense) / total if total else 0.0
        return cls(type(net).__name__, by, {path: type(modules[path]).__name__ for path in paths}, dense, share)

    @classmethod
    def of_weights(cls, net: nn.Module, by: str, names: Iterable[str]) -> Report:
        """The report of a network of which the convolutions with these weights are converted."""
        paths = sorted({name.rpartition('.')[0] for name in names})
        return cls.of(net, by, [path for path in paths if isinstance(net.get_submodule(path), LAYERS)])

    def __str__(self) -> str:
        if self.by == 'dense' and not self.converted:
            return f'{self.network} (by dense): torch runs it, or OpenVINO where faster. {self.why}'
        kinds: dict[str, int] = {}
        for kind in self.converted.values():
            kinds[kind] = kinds.get(kind, 0) + 1
        units = ', '.join(f'{count} {kind}' for kind, count in kinds.items())
        where, rest = ('by the native kernels', 'by torch') if self.by == 'dense' else ('where the mask is', 'dense')
        return (f'{self.network} (by {self.by}): {units} with {self.share:.0%} of the weights run {where}; '
                f'{rest}: {", ".join(self.dense) or "nothing"}.')
