"""Networks × devices × dtypes × sizes, one network in memory at a time; every comparison becomes a report."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from basicsr_amsr.bench.checks import check_dtype
from basicsr_amsr.bench.contenders import Contender, Grid
from basicsr_amsr.bench.dense import dense_forms, tiled_forms, unmodified_form
from basicsr_amsr.bench.figures import compare, crossovers, fastest_within
from basicsr_amsr.bench.images import Images, Size
from basicsr_amsr.bench.networks import Network, scale_of
from basicsr_amsr.bench.quality import mean_psnr
from basicsr_amsr.bench.rounds import Measured, Settings, measure
from basicsr_amsr.bench.sparse import sparse_forms
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.profile import environment
from basicsr_amsr.profiling.timer import threads

Progress = Callable[[str], Any]


@dataclass(frozen=True)
class Plan:
    """Everything that is measured.

    Args:
        networks: of unique names. grid: which sparse forms.
        sizes: of the LR images. devices, dtypes: where.
        images: LR images. quality: HR files for PSNR; networks with random weights have none.
        settings: how long. num_threads: PyTorch's CPU threads; None leaves them.
    """

    networks: Sequence[Network]
    grid: Grid
    sizes: Sequence[Size]
    devices: Sequence[torch.device]
    dtypes: Sequence[torch.dtype]
    images: Images = field(default_factory=Images)
    quality: Sequence[Path] = ()
    settings: Settings = field(default_factory=Settings)
    num_threads: int | None = None


class Facts(NamedTuple):
    """Of a network: its weights, whether they are of a file, scale, image channels."""

    weights: str
    trained: bool
    scale: int
    channels: int


def check(plan: Plan, progress: Progress = lambda stage: None) -> dict[str, Facts]:
    """Try everything that can be tried in seconds, so that no mistake shows up after hours.

    Raises:
        UserError: a network that cannot be built, a combination of options that it does not take, a size that no image
            has, a type in which a device does not compute, a
            backend that does not run on one.
    """
    for device in plan.devices:
        for dtype in plan.dtypes:
            check_dtype(device, dtype)
        for backend in plan.grid.backends or ():
            try:
                backend_for(backend, device)
            except UserError as error:
                raise UserError(f'--{error}') from error
    facts = {}
    for network in plan.networks:
        progress(f'checking {network.name}')
        facts[network.name] = check_network(network, plan)
    if plan.quality and not any(each.trained and each.scale > 1 for each in facts.values()):
        raise UserError('--hr: PSNR needs a network with weights and a scale over 1; name an option file whose '
                        'path: pretrain_network_g is there, or leave --hr out.')
    return facts


def check_network(network: Network, plan: Plan) -> Facts:
    """As `check`, of one network, of which nothing is kept."""
    net, weights, trained = network.build()
    facts = Facts(weights, trained, scale_of(net, network.channels), network.channels)
    for size in plan.sizes:
        plan.images.check(size, facts.scale)
        sparse_forms(net, net, plan.grid, (network.channels, *size))
    return facts


def comparisons(plan: Plan, facts: Mapping[str, Facts],
                progress: Progress = lambda stage: None) -> Iterator[dict[str, Any]]:
    """Measure; yields a report of each comparison as soon as it is done.

    A report holds `network`, `weights`, `scale`, `source` of the masks, `images` (names), what `environment` says
    (profile.py), and what `report` makes of the measurement; docs/bench.md lists all.

    Args:
        plan: what. facts: of `check`.
        progress: called with a line at each stage.

    Raises:
        UserError: a network does not take the images.
        KeyboardInterrupt: after the report of what was complete by then.
    """
    with threads(plan.num_threads):
        for network in plan.networks:
            for device in plan.devices:
                for dtype in plan.dtypes:
                    yield from run_network(network, device, dtype, plan, facts[network.name], progress)


def run_network(network: Network, device: torch.device, dtype: torch.dtype, plan: Plan, known: Facts,
                progress: Progress) -> Iterator[dict[str, Any]]:
    """The reports of one network on a device in a dtype, for each size."""
    net = network.build().net.to(device, dtype).to(memory_format=torch.channels_last)
    dense = dense_forms(net)
    tiled = tiled_forms(net, dense[-1].net)
    references = [unmodified_form(net)] if isinstance(net, MGA) else []
    quality: dict[str, float] = {}
    for size in plan.sizes:
        def tell(stage: str, where: str = f'{network.name}, {size[0]}x{size[1]}: ') -> None:
            progress(where + stage)

        crops = plan.images.crops(size, known.channels, known.scale)
        images = [x.to(device, dtype) for _, x in crops]
        sparse = sparse_forms(net, dense[-1].net, plan.grid, (known.channels, *size))
        measured = measure([*dense, *tiled, *references, *sparse], images, plan.settings, tell)
        if plan.quality and known.trained and not quality and not measured.interrupted:
            try:
                quality = mean_psnr({one.name: one.run for one in measured.contenders if one.kind == 'sparse'
                                     or one.name == dense[-1].name}, plan.quality, known.scale, images[0], tell)
            except KeyboardInterrupt:
                measured.interrupted = True
        where = environment(images[0], plan.num_threads)
        del where['channels_last']  # each contender has its own
        yield {'network': network.name, 'weights': known.weights, 'scale': known.scale, 'source': plan.images.source,
               'images': [name for name, _ in crops], **where, **report(measured, quality, len(crops))}
        if measured.interrupted:
            raise KeyboardInterrupt


def report(measured: Measured, quality: Mapping[str, float], images: int = 1) -> dict[str, Any]:
    """The figures of one comparison, whose rounds took so many images in turn."""
    found: dict[str, Any] = {
        'rounds': measured.times.rounds if measured.times else 0, 'interrupted': measured.interrupted,
        'fastest_dense': None, 'contenders': [], 'crossovers': [], 'fastest_within': [],
        'not_measured': [{'contender': name, 'why': why} for name, why in measured.refused.items()]}
    if measured.times is None or not measured.times.rounds:
        return found
    best, figures = compare(measured.times, measured.macs,
                            [one.name for one in measured.contenders if one.kind == 'dense'], images)
    found['fastest_dense'] = best
    psnr_of_dense = max((quality[one.name] for one in measured.contenders
                         if one.kind == 'dense' and one.name in quality), default=None)
    for one in measured.contenders:
        psnr = psnr_of_dense if one.kind == 'dense' else quality.get(one.name)
        found['contenders'].append({
            **described(one), **figures[one.name], 'mask_ratio': measured.mask_ratios[one.name],
            'compile_seconds': measured.compile_seconds.get(one.name), 'psnr': psnr,
            'psnr_loss': None if psnr is None or psnr_of_dense is None else psnr_of_dense - psnr})
    return {**found, 'crossovers': crossovers(found['contenders']),
            'fastest_within': fastest_within(found['contenders'])}


def described(contender: Contender) -> dict[str, Any]:
    """What a contender is."""
    return {'name': contender.name, 'form': contender.form, 'backend': contender.backend, 'kind': contender.kind,
            'tile': contender.tile, 'inside': contender.inside,
            'asked': dict([contender.amount]) if contender.amount else None}
