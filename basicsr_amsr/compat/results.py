"""What comes of each image of a validation or test: its figures and its file, or a line that names it."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import basicsr.metrics
from basicsr.utils import img_util

from basicsr_amsr.errors import UserError
from basicsr_amsr.reasons import reason
from basicsr_amsr.training.watched import placed

MAY_BE_NAN = ('calculate_mask_l1',)  # MGA has no mask in the steps before the mask's
_metric, _imwrite = basicsr.metrics.calculate_metric, img_util.imwrite


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


def imwrite(img: Any, file_path: str, params: Any = None, auto_mkdir: bool = True) -> None:
    """BasicSR's `imwrite`; images of a test set whose files are named alike go into folders of their own.

    Raises:
        UserError: the file cannot be written.
    """
    path = placed(file_path)
    try:
        _imwrite(img, path, params, auto_mkdir)
    except OSError as error:
        why = f': {error.strerror.lower()}' if error.strerror else ''
        raise UserError(f"Cannot write '{path}'{why}.") from error
