"""The figures of each image of a validation or test, or a line that says why there is none."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import basicsr.metrics

from basicsr_amsr.errors import UserError
from basicsr_amsr.reasons import reason

MAY_BE_NAN = ('calculate_mask_l1',)  # MGA has no mask in the steps before the mask's
_metric = basicsr.metrics.calculate_metric


def calculate_metric(data: dict[str, Any], opt: Mapping[str, Any]) -> float:
    """BasicSR's `calculate_metric`.

    Raises:
        UserError: the metric cannot be computed of these images, or is not a number.
    """
    try:
        value = _metric(data, opt)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f'val: metrics: {opt["type"]}: {_why(data, opt) or reason(error)}{_sizes(data)}.') from error
    if math.isnan(value) and opt['type'] not in MAY_BE_NAN:
        raise UserError(f'val: metrics: {opt["type"]} is not a number: {_why(data, opt) or "look at the images"}'
                        f'{_sizes(data)}.')
    return value


def _why(data: Mapping[str, Any], opt: Mapping[str, Any]) -> str | None:
    image, truth, border = data['img'], data.get('img2'), opt.get('crop_border')
    if truth is not None and image.shape != truth.shape:
        return 'the image that the network makes and its ground truth are of different sizes'
    if isinstance(border, int) and 2 * border >= min(image.shape[:2]):
        return f'crop_border {border} leaves nothing of the image'
    return None


def _sizes(data: Mapping[str, Any]) -> str:
    """' (32x32; ground truth 31x32)'."""
    image, truth = ('x'.join(map(str, data[key].shape[:2])) if key in data else 'none' for key in ('img', 'img2'))
    return f' ({image}; ground truth {truth})'
