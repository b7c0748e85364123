"""Networks of a few hundred weights that select."""
import torch

from basicsr_amsr.bench import worker
from basicsr_amsr.bench.engines import export
from basicsr_amsr.bench.grid import Amount, Grid
from basicsr_amsr.bench.job import Failed
from basicsr_amsr.bench.networks import Network
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.native.library import library

EDSR = {'type': 'AMSR', 'backbone': {'type': 'EDSR', 'num_feat': 8, 'num_block': 2, 'upscale': 2},
        'selection': {'keep': 0.5, 'patch_size': 4, 'smooth': 3}}
SWINIR = {'type': 'AMSR', 'backbone': {'type': 'SwinIR_light', 'embed_dim': 8, 'depths': [2], 'num_heads': [2],
                                       'window_size': 4, 'img_size': 8, 'upscale': 2}}
FSRCNN = {'type': 'MGA', 'backbone': {'type': 'FSRCNN', 'num_feat': 6, 'num_shrink': 4, 'upscale': 2}, 'k': 6}
RFDN = {'type': 'MGA', 'backbone': {'type': 'RFDN', 'num_feat': 8, 'upscale': 2}, 'split_blocks': [2, 2]}
HALF, QUARTER = Amount('keep', 0.5), Amount('keep', 0.25)
GRID = Grid((QUARTER, HALF))
USUAL = 'native' if library() is not None else 'torch'  # what runs patches of 4x4 here


def network(options, name='tiny', **opt):
    """A network of these options."""
    return Network(name, {'network_g': options, **opt})


def built(options):
    """The network itself, on the CPU, channels-last."""
    return network(options).build().net.to(memory_format=torch.channels_last)


def image(height, width, seed=0):
    """Noise in 0–1."""
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def launched(job, timeout):
    """In place of `processes.launch`: the same in this process."""
    try:
        return export(job) if job.export else worker.work(job)
    except UserError as error:
        raise Failed(str(error)) from error
