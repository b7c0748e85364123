"""Exact 1-D 2-means against scikit-learn's KMeans(n_clusters=2) on the high-frequency maps of real images.

    python benchmarks/two_means.py --images cid22_512 --count 200 --crop 256

Prints on how many images both choose the same pixels, on how many either has the lower inertia, and the time of each
beside that of sorting all values and of the whole mask. KMeans stops by default when its centres move little (tol);
it is compared so and run to its end. scikit-learn is needed for this comparison only.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.cluster import KMeans

from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.execution.timer import time_paired
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.selection.two_means import two_means

SETTINGS = {'KMeans': {}, 'KMeans run to its end': {'tol': 0.0, 'max_iter': 10_000}}
SAME = 1e-9  # relative difference of two inertias that rounding explains


def inertia(values: torch.Tensor, high: torch.Tensor) -> float:
    """Sum of the squared distances to the mean of the own cluster, of a row of values."""
    parts = (values[high].double(), values[~high].double())
    return sum((part - part.mean()).square().sum().item() for part in parts if len(part))


def kmeans(values: torch.Tensor, **options: Any) -> torch.Tensor:
    """scikit-learn's upper cluster of a row of values."""
    fitted = KMeans(n_clusters=2, random_state=0, **options).fit(values.numpy()[:, None])
    return torch.from_numpy(fitted.labels_ == fitted.cluster_centers_.argmax())


def agreement(maps: Sequence[torch.Tensor], **options: Any) -> str:
    """In a line: how often both choose the same pixels, and whose inertia is lower."""
    same, pixels, lower, higher, excess = 0, 1.0, 0, 0, 0.0
    for row in track([values[0] for values in maps], transient=True):
        ours, theirs = two_means(row[None]).high[0], kmeans(row, **options)
        mine, other = inertia(row, ours), inertia(row, theirs)
        same += torch.equal(ours, theirs)
        pixels = min(pixels, (ours == theirs).double().mean().item())
        lower += mine < other * (1 - SAME)
        higher += mine > other * (1 + SAME)
        excess = max(excess, other / mine - 1)
    return (f'the same mask on {same} of {len(maps)} images, on each the same for {pixels:.3%} of the pixels or more; '
            f'lower inertia on {lower}, higher on {higher}; KMeans is up to {excess:.1e} over the optimum')


def main(argv: Sequence[str] | None = None) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', required=True, help='a folder of images')
    parser.add_argument('--count', type=int, default=200)
    parser.add_argument('--crop', type=int, default=256, help='side of the crop from the centre')
    parser.add_argument('--timed', type=int, default=10, help='how many of the images are timed')
    args = parser.parse_args(argv)

    select, maps, images = HighFrequencyMask(), [], []
    for path in list_images(args.images)[:args.count]:
        image = to_float(read_image(path))
        top, left = (max(side - args.crop, 0) // 2 for side in image.shape[:2])
        rgb = torch.from_numpy(image[top:top + args.crop, left:left + args.crop, ::-1].copy()).permute(2, 0, 1)[None]
        images.append(rgb)
        maps.append(select.score(rgb).flatten(1))

    timed = range(0, len(maps), max(len(maps) // args.timed, 1))
    times = time_paired({
        'two_means': lambda: [two_means(maps[i]) for i in timed],
        'sort of all values': lambda: [maps[i].sort(dim=1) for i in timed],
        'whole mask': lambda: [select(images[i]) for i in timed],
        **{name: lambda options=options: [kmeans(maps[i][0], **options) for i in timed]
           for name, options in SETTINGS.items()},
    }, budget=30)
    console = Console()
    for name, options in SETTINGS.items():
        console.print(f'{name}: {agreement(maps, **options)}.')
    table = Table('', 'ms per image', 'of KMeans', title=f'{torch.get_num_threads()} thread(s), medians')
    for name in times.milliseconds:
        milliseconds, ratio = times.latency(name).median / len(timed), times.ratio(name, 'KMeans').median
        table.add_row(name, f'{milliseconds:.2f}', f'{ratio:.3f}')
    console.print(table)


if __name__ == '__main__':
    main()
