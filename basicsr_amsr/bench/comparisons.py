"""Networks × devices × dtypes × sizes, one network in memory at a time; every comparison becomes a report."""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from basicsr_amsr.bench.comparison_report import report
from basicsr_amsr.bench.contenders import Contender
from basicsr_amsr.bench.dense import dense_forms, native_form, unmodified_form
from basicsr_amsr.bench.folder import Folder
from basicsr_amsr.bench.grid import Grid
from basicsr_amsr.bench.images import Images, Size
from basicsr_amsr.bench.networks import Network, scale_of
from basicsr_amsr.bench.quality import mean_psnr
from basicsr_amsr.bench.right_output import check_dtype
from basicsr_amsr.bench.rivals import rivals_of
from basicsr_amsr.bench.rounds import Measured, Progress, Settings, admit, admit_rival, time_rounds
from basicsr_amsr.bench.sparse_forms import sparse_forms
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import backend_for
from basicsr_amsr.execution.precision import compute_dtype, computing_in
from basicsr_amsr.execution.timer import threads
from basicsr_amsr.memory_layout import lay_out
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.profiling.side_by_side import environment

Partial = Callable[[dict[str, Any]], Any]


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
    """What has to be known of a network: its weights, whether they are of a file, scale, image channels."""

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
    """Check one network as `check` does all of them, and keep nothing of it."""
    net, weights, trained = network.build()
    facts = Facts(weights, trained, scale_of(net, network.channels), network.channels)
    for size in plan.sizes:
        plan.images.check(size, facts.scale)
        sparse_forms(net, net, plan.grid, (network.channels, *size))
    return facts


def comparisons(plan: Plan, facts: Mapping[str, Facts],
                progress: Progress = lambda stage: None,
                partial: Partial = lambda report: None) -> Iterator[dict[str, Any]]:
    """Measure; yields a report of each comparison as soon as it is done.

    A report holds `network`, `weights`, `scale`, `source` of the masks, `images` (names), what `environment` says
    (profiling/side_by_side.py), and what `report` makes of the measurement; docs/bench.md lists all.

    Args:
        plan: what. facts: of `check`.
        progress: called with a line at each stage.
        partial: called after each round with the report as it is by then.

    Raises:
        UserError: a network does not take the images.
        KeyboardInterrupt: after the report of what was complete by then.
    """
    with threads(plan.num_threads):
        for network in plan.networks:
            for device in plan.devices:
                for dtype in plan.dtypes:
                    yield from run_network(network, device, dtype, plan, facts[network.name], progress,
                                           partial)


def run_network(network: Network, device: torch.device, dtype: torch.dtype, plan: Plan, known: Facts,
                progress: Progress, partial: Partial) -> Iterator[dict[str, Any]]:
    """The reports of one network on a device in a dtype, for each size."""
    net = lay_out(network.build().net.to(device))
    dense = dense_forms(net)
    references = [unmodified_form(net)] if isinstance(net, MGA) else []
    quality: dict[str, float] = {}
    for size in plan.sizes:
        def tell(stage: str, where: str = f'{network.name}, {size[0]}x{size[1]}, {dtype_name(dtype)}: ') -> None:
            progress(where + stage)

        crops = plan.images.crops(size, known.channels, known.scale)
        images = [x.to(device) for _, x in crops]
        sparse = sparse_forms(net, dense[-1].net, plan.grid, (known.channels, *size))
        with computing_in(dtype, device):
            where = environment(images[0], plan.num_threads)
        del where['channels_last']  # each contender has its own
        head = {'network': network.name, 'weights': known.weights, 'scale': known.scale, 'source': plan.images.source,
                'images': [name for name, _ in crops], **where}
        found = Measured()
        with tempfile.TemporaryDirectory() as path:
            tell('what the dense network makes of the images in fp32')
            pictures = dense_pictures(network, device, [x for _, x in crops])
            folder = Folder(path, network, device, dtype, plan.num_threads, [x for _, x in crops], pictures)
            with computing_in(dtype, device):
                admit_all(found, [*native_form(net), *dense, *references, *sparse], images, folder, plan.settings, tell)

            def after_round(head: dict[str, Any] = head, found: Measured = found) -> None:
                partial({**head, **report(found, {})})

            if any(one.kind == 'dense' for one in found.contenders):
                time_rounds(found, folder, plan.settings, tell, after_round)
        if plan.quality and known.trained and not quality and not found.interrupted:
            try:
                with computing_in(dtype, device):
                    quality = mean_psnr({one.name: one.run for one in found.contenders if one.net is not None
                                         and (one.kind == 'sparse' or one.name == dense[-1].name)},
                                        plan.quality, known.scale, images[0], tell)
            except KeyboardInterrupt:
                found.interrupted = True
        yield {**head, **report(found, quality)}
        if found.interrupted:
            raise KeyboardInterrupt


def dtype_name(dtype: torch.dtype) -> str:
    """'float32'."""
    return str(dtype).removeprefix('torch.')


@torch.no_grad()
def dense_pictures(network: Network, device: torch.device, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What the dense network makes of float32 images in fp32."""
    net = View('dense').of(network.build().net.to(device))
    return [net(x.to(device)).cpu() for x in images]


@torch.no_grad()
def admit_all(found: Measured, ours: Sequence[Contender], images: Sequence[torch.Tensor], folder: Folder,
              settings: Settings, tell: Progress) -> None:
    """Check and count our own contenders, and let in the rivals of those that are in."""
    for number, contender in enumerate(ours, 1):
        tell(f'checking {contender.name} ({number} of {len(ours)})')
        admit(found, contender, images)
        if contender in found.contenders:
            folder.expect(contender, contender.run(images[0]))
    if not any(one.kind == 'dense' for one in found.contenders):
        return  # there is nothing to compare with
    for rival in rivals_of(ours, settings.rivals, images[0].device, compute_dtype(images[0])):
        tell(f'preparing {rival.name}')
        admit_rival(found, rival, folder, settings)
