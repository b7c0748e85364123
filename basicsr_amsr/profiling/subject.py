"""What is profiled: the network of an option file with its weights, its variants, and an input image."""
from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from torch import nn

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.mga.parts import find_family
from basicsr_amsr.options.channels import of_network
from basicsr_amsr.profiling.side_by_side import variant_of
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection.topk import check_k
from basicsr_amsr.training.trained_model import TrainedModel

DEMO_IMAGE = 'demo/test/house.jpg'
DEFAULT_SIZE = (180, 320)
DENSE = 'D'
SELECTING = ('A', 'B', 'M')
PLAIN = 'plain'


def build(opt: Mapping[str, Any]) -> nn.Module:
    """The network `network_g:` of checked options, with random weights."""
    get_root_logger().setLevel(logging.ERROR)  # a misfit would list every key; the error's one line says enough
    return build_network(opt['network_g'])


def weights_file(opt: Mapping[str, Any]) -> Path | None:
    """The file of `path: pretrain_network_g:`, where the options name one that is there."""
    given = (opt.get('path') or {}).get('pretrain_network_g')
    return resolve(given) if given and resolve(given).exists() else None


def load_weights(net: nn.Module, opt: Mapping[str, Any]) -> str:
    """Load the `weights_file`, where there is one; says what the weights are.

    Raises:
        UserError: the file does not fit the network.
    """
    paths, file = opt.get('path') or {}, weights_file(opt)
    given = paths.get('pretrain_network_g')
    if file is None:
        return f'random ({given} is absent)' if given else 'random (the option file names none)'
    model = TrainedModel({'num_gpu': 0, 'is_train': False})
    model.load_network(net, str(file), paths.get('strict_load_g', True), paths.get('param_key_g', 'params'))
    return str(given)


def set_k(net: Any, k: str) -> None:
    """Refine `k` patches per image: '1000', or a share such as '0.25'. More than there are means all.

    Raises:
        UserError: no such number, or the network selects no patches.
    """
    if not hasattr(net, 'k'):
        raise UserError(f'--k {k}: {type(net).__name__} selects no patches; leave --k out.')
    if not re.fullmatch(r'\d+|\d*\.\d+', k):
        raise UserError(f"--k '{k}': give a number of patches such as 1000, or a share of them such as 0.25.")
    net.k = check_k(int(k) if k.isdigit() else float(k))


def choose_variants(net: Any, wanted: str | None) -> tuple[dict[str, nn.Module], str | None]:
    """The networks to profile by name, and which of them is the dense one.

    A network with variants (MGA, an accelerated one) gives those in `wanted` ('M' or 'B,D,A,M'; else the one it is set
    to), and beside them its dense one, D. `plain` is the unmodified network that MGA was made of, with random weights.
    Any other network stands alone.

    Raises:
        UserError: an unknown variant, or variants of a network that has none.
    """
    if not hasattr(net, 'set_variant'):
        if wanted:
            raise UserError(f'--variant {wanted}: {type(net).__name__} has no variants; leave --variant out.')
        return {type(net).__name__: net}, None
    names = [name.strip() for name in wanted.split(',')] if wanted else [str(net.variant)]
    known = [*SELECTING, DENSE, *([PLAIN] if hasattr(net, 'backbone') else [])]
    for name in names:
        if name not in known:
            raise UserError(f"--variant '{name}' is unknown. {suggestion(name, known)}")
    if DENSE not in names:
        names.append(DENSE)
    return {name: plain_network(net) if name == PLAIN else variant_of(net, name) for name in names}, DENSE


def plain_network(net: Any) -> nn.Module:
    """The unmodified network of an MGA network's `backbone`, with random weights."""
    family, options = find_family(net.backbone, net.cut)
    return family.create(**options)


def variant_parameters(nets: Mapping[str, Any]) -> dict[str, int]:
    """Parameters of the networks that hold more than they use."""
    return {name: net.variant_parameters(name) for name, net in nets.items() if hasattr(net, 'variant_parameters')}


def parse_size(text: str) -> tuple[int, int]:
    """'180x320' to (180, 320), height first; a UserError for anything else."""
    match = re.fullmatch(r'(\d+)[xX](\d+)', text.strip())
    if not match or not all(int(side) for side in match.groups()):
        raise UserError(f"--size '{text}': write the LR image's HEIGHTxWIDTH in pixels, such as 180x320.")
    return int(match[1]), int(match[2])


def input_channels(network: Mapping[str, Any]) -> int:
    """Image channels that a `network_g:` takes, 3 where nothing tells."""
    return of_network(network) or 3


def input_image(path: str | None, size: tuple[int, int] | None, channels: int) -> tuple[torch.Tensor, str]:
    """An LR image as (1, channels, H, W) float32, RGB or gray, in 0–1, and what it is.

    Without a path it is a bundled photograph. To reach `size` the centre is cropped to the wanted proportions and
    resampled (area when shrinking, bicubic when enlarging). Without a size an own image is taken as it is.

    Raises:
        UserError: the image cannot be read.
    """
    file = resolve(path or DEMO_IMAGE)
    image = read_image(file, gray=channels == 1)
    if path is None and size is None:
        size = DEFAULT_SIZE
    if size is not None:
        image = fit(image, size)
    image = to_float(np.ascontiguousarray(image[..., ::-1]))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    if tensor.shape[1] != channels:
        tensor = tensor[:, :1].expand(-1, channels, -1, -1).contiguous()
    return tensor, path or f'bundled photograph {Path(DEMO_IMAGE).name}'


def input_images(folder: str, size: tuple[int, int] | None, channels: int, most: int | None
                 ) -> tuple[Iterator[tuple[str, torch.Tensor]], int]:
    """The LR images of a folder, (name, `input_image`), read as they are wanted, and how many there are.

    Args:
        folder: where they are. size, channels: see `input_image`.
        most: only the first so many.

    Raises:
        UserError: no images there; while they are read: one cannot be read.
    """
    if most is not None and most < 1:
        raise UserError(f'--max-images {most}: give 1 or more.')
    files = list_images(resolve(folder))[:most]
    return ((file.name, input_image(str(file), size, channels)[0]) for file in files), len(files)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop (H, W, C) at its centre to the proportions of `size` and resample it to `size`."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, cols = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    top, left = (height - rows) // 2, (width - cols) // 2
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image[top:top + rows, left:left + cols], (size[1], size[0]), interpolation=method)
    return resized.reshape(*size, image.shape[2])
