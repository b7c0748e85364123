"""Transforms as an option file names them, and their use on the items of a data set or on a batch."""
from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from basicsr_amsr.errors import UnknownName, UserError, suggestion
from basicsr_amsr.registry import TRANSFORM_REGISTRY, lookup
from basicsr_amsr.transforms.base import Generators, Transform, drawn_generator


class SampleTransforms:
    """Transforms of named images of a sample, one after the other: `transforms:` of an option file.

    Args:
        steps: pairs of the key of an image (`lq`, `gt`) and the transform of it.
    """

    def __init__(self, steps: Sequence[tuple[str, Transform]]):
        self.steps = list(steps)

    def __call__(self, sample: Mapping[str, Any], generator: torch.Generator | Generators | None = None,
                 device: torch.device | str | None = None) -> dict[str, Any]:
        """Apply them to an item of a data set, or to a batch of items.

        Args:
            sample: a dict of tensors (C, H, W), or (B, C, H, W) for a batch, and of anything else.
            generator: as for a `Transform`; it goes on from each to the next.
            device: move the images that are transformed there first. Default: they stay where they are.

        Returns:
            A new dict. What is not transformed is the same object as in `sample`.

        Raises:
            UserError: the sample has no image of that name.
        """
        result = dict(sample)
        if generator is None and self.steps:
            generator = drawn_generator()
        for target, transform in self.steps:
            image = result.get(target)
            if not isinstance(image, torch.Tensor):
                images = [key for key, value in sample.items() if isinstance(value, torch.Tensor)]
                raise UserError(f"transforms: target '{target}' is no image of the data set. "
                                f'{suggestion(target, images)}')
            if device is not None:
                image = image.to(device, non_blocking=True)
            result[target] = transform(image, generator)
        return result


def build_sample_transforms(options: Any, place: str) -> SampleTransforms:
    """The transforms of a list such as `[{type: SFM, target: lq, mode: central}]`.

    Args:
        options: the list; None or an empty one gives no transforms.
        place: where it stands, for messages, such as 'datasets:train:transforms'.

    Raises:
        UserError: it is no such list; one line with the place and the key.
    """
    steps = []
    for where, entry in _entries(options, place):
        if not isinstance(entry.get('target'), str):
            raise UserError(f'{where}: target is missing: the image to transform, lq or gt.')
        steps.append((entry['target'], build_transform({k: v for k, v in entry.items() if k != 'target'}, where)))
    return SampleTransforms(steps)


def build_transforms(options: Any, place: str) -> list[Transform]:
    """The transforms of a list such as `[{type: GaussianBlur, sigma: 1.6}, {type: JPEG, quality: [60, 95]}]`.

    Raises:
        UserError: as `build_sample_transforms`.
    """
    return [build_transform(entry, where) for where, entry in _entries(options, place)]


def build_transform(options: Mapping[str, Any], place: str) -> Transform:
    """The registered transform `type`, with the other options as its arguments.

    Raises:
        UserError: the name or an option is unknown, missing or out of its range; one line with `place`.
    """
    name = options.get('type')
    if not isinstance(name, str):
        raise UserError(f'{place}: type is missing. {suggestion("", TRANSFORM_REGISTRY.keys())}')
    try:
        kind = lookup(TRANSFORM_REGISTRY, name)
    except UnknownName as error:
        raise UserError(f'{place}: type: {error}') from None
    arguments = {key: value for key, value in options.items() if key != 'type'}
    parameters = inspect.signature(kind).parameters
    for key in arguments:
        if key not in parameters:
            raise UserError(f'{place}: {name} has no option {key}. {suggestion(key, parameters)}')
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f'{place}: {name} needs the option {key}.')
    try:
        return kind(**arguments)
    except UserError as error:
        raise UserError(f'{place}: {name}: {error}') from error


def _entries(options: Any, place: str) -> list[tuple[str, Mapping[str, Any]]]:
    if options is None:
        return []
    if not isinstance(options, Sequence) or not all(isinstance(entry, Mapping) for entry in options):
        raise UserError(f'{place}: must be a list of transforms, such as [{{type: SFM, …}}].')
    return [(f'{place}:{index}', entry) for index, entry in enumerate(options)]
