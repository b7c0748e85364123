"""compat: torchrun and Slurm, on GPUs (the calls that would be made) and on the CPU (really run)."""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import timedelta
from types import SimpleNamespace

import basicsr.utils.dist_util
import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist

from basicsr_amsr.errors import UserError

LAUNCHER_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_LOCALID',
                      'SLURM_NTASKS', 'SLURM_NODELIST')


@pytest.fixture
def launch(monkeypatch):
    """Call init_dist in an environment with `gpus` GPUs; returns the process group's arguments and the GPU chosen."""
    def run(launcher, gpus, environment, **kwargs):
        for name in LAUNCHER_VARIABLES:
            monkeypatch.setenv(name, environment.get(name, ''))
            if name not in environment:
                monkeypatch.delenv(name)
        calls = {}
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
        monkeypatch.setattr(torch.cuda, 'set_device', lambda device: calls.update(device=device))
        monkeypatch.setattr(dist, 'init_process_group', lambda **given: calls.update(given))
        basicsr.utils.dist_util.init_dist(launcher, **kwargs)
        assert calls.pop('timeout') == timedelta(minutes=kwargs.get('timeout', 240))
        return calls
    return run


def test_torchrun_with_gpus_takes_the_one_of_local_rank(launch):
    calls = launch('pytorch', 2, {'RANK': '4', 'LOCAL_RANK': '1'})  # rank % gpus would be 0
    assert calls == {'backend': 'nccl', 'device': 1}


def test_without_local_rank_the_rank_decides(launch):
    assert launch('pytorch', 2, {'RANK': '3'}, port=1, timeout=5) == {'backend': 'nccl', 'device': 1}


def test_without_gpus_gloo(launch):
    assert launch('pytorch', 0, {'RANK': '1', 'LOCAL_RANK': '1'}) == {'backend': 'gloo'}
    assert launch('pytorch', 0, {'RANK': '1'}, backend='mpi') == {'backend': 'mpi'}


def test_more_processes_than_gpus_is_one_line(launch):
    with pytest.raises(UserError, match='2 visible'):
        launch('pytorch', 2, {'RANK': '2', 'LOCAL_RANK': '2'})


@pytest.mark.parametrize(('launcher', 'how'), [('pytorch', 'torchrun'), ('slurm', 'srun')])
def test_not_started_by_the_launcher_is_one_line(launch, launcher, how):
    with pytest.raises(UserError, match=how):
        launch(launcher, 0, {})


def test_unknown_launcher(launch):
    with pytest.raises(ValueError, match='mpi'):
        launch('mpi', 0, {'RANK': '0'})


@pytest.mark.parametrize(('gpus', 'environment', 'local'), [
    (0, {}, '0'), (2, {}, '1'), (2, {'SLURM_LOCALID': '0'}, '0')])
def test_slurm_describes_the_step(launch, monkeypatch, gpus, environment, local):
    monkeypatch.setattr(subprocess, 'run', lambda *a, **k: SimpleNamespace(stdout='node7\nnode8\n'))
    step = {'SLURM_PROCID': '5', 'SLURM_NTASKS': '8', 'SLURM_NODELIST': 'node[7-8]', **environment}
    calls = launch('slurm', gpus, step, port=1234)
    assert calls['backend'] == ('nccl' if gpus else 'gloo') and calls.get('device') == (int(local) if gpus else None)
    assert {n: os.environ[n] for n in LAUNCHER_VARIABLES[:5]} == {
        'RANK': '5', 'WORLD_SIZE': '8', 'LOCAL_RANK': local, 'MASTER_ADDR': 'node7', 'MASTER_PORT': '1234'}


SPAWN = """
    import multiprocessing

    if __name__ == '__main__':  # a worker runs this file too, without what is below
        import basicsr_amsr.register
        from basicsr.data import build_dataloader, build_dataset

        multiprocessing.set_start_method('spawn')
        options = {'name': 'x', 'type': 'PairedImageDataset', 'phase': 'train', 'dataroot_gt': 'hr',
                   'dataroot_lq': 'lr', 'io_backend': {'type': 'disk'}, 'scale': 2, 'gt_size': 32, 'use_hflip': False,
                   'use_rot': False, 'num_worker_per_gpu': 1, 'batch_size_per_gpu': 2}
        dataset = build_dataset(options)
        loader = build_dataloader(dataset, options, num_gpu=0, seed=0)
        assert len(loader.dataset) == len(dataset) == 4 and loader.dataset.opt is dataset.opt
        for batch in loader:
            print('BATCH', tuple(batch['gt'].shape), tuple(batch['lq'].shape))
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with four pairs of images, hr/ and lr/, of scale 2."""
    rng = np.random.default_rng(0)
    for name, size in (('hr', 48), ('lr', 24)):
        (tmp_path / name).mkdir()
        for i in range(4):
            cv2.imwrite(str(tmp_path / name / f'{i}.png'), rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    return tmp_path


def run(folder, script, *words):
    (folder / 'run.py').write_text(textwrap.dedent(script), encoding='utf-8')
    environment = {**{k: v for k, v in os.environ.items() if k not in LAUNCHER_VARIABLES},
                   'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_data_workers_that_start_afresh(folder):
    done = run(folder, SPAWN, 'run.py')
    assert done.stdout.splitlines() == ['BATCH (2, 3, 32, 32) (2, 3, 16, 16)'] * 2


SCRIPT = """
    import hashlib, os
    import basicsr_amsr.register
    import basicsr.train
    from basicsr.models.sr_model import SRModel

    def save(self, epoch, current_iter):
        weights = b''.join(v.numpy().tobytes() for v in self.get_bare_model(self.net_g).state_dict().values())
        if current_iter == -1:
            print('WEIGHTS', os.environ['RANK'], hashlib.md5(weights).hexdigest(), flush=True)
        original(self, epoch, current_iter)

    original, SRModel.save = SRModel.save, save
    if __name__ == '__main__':
        basicsr.train.train_pipeline('.')
"""
OPTIONS = """
name: two
model_type: SRModel
scale: 2
num_gpu: 2
manual_seed: 1
datasets:
  train:
    type: PairedImageDataset
    dataroot_gt: hr
    dataroot_lq: lr
    io_backend: {type: disk}
    gt_size: 32
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 1
    batch_size_per_gpu: 2
  val: {type: PairedImageDataset, dataroot_gt: hr, dataroot_lq: lr, io_backend: {type: disk}}
network_g: {type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, upscale: 2}
train:
  optim_g: {type: Adam, lr: 1e-3}
  scheduler: {type: MultiStepLR, milestones: [100]}
  total_iter: 3
  pixel_opt: {type: L1Loss}
val: {val_freq: 3, metrics: {psnr: {type: calculate_psnr, crop_border: 2}}}
logger: {print_freq: 1}
"""


def test_two_processes_train_on_the_cpu(folder):
    (folder / 'options.yml').write_text(OPTIONS, encoding='utf-8')
    done = run(folder, SCRIPT, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'run.py', '-opt',
               'options.yml', '--launcher', 'pytorch')
    weights = dict(line.split()[1:] for line in done.stdout.splitlines() if line.startswith('WEIGHTS'))
    assert weights.keys() == {'0', '1'} and len(set(weights.values())) == 1  # gradients were shared
    assert done.stderr.count('running on the CPU') == 1  # only the first process warns
    assert (folder / 'experiments' / 'two' / 'models' / 'net_g_latest.pth').is_file()


TOGETHER = """
    import os
    import time
    from pathlib import Path

    import basicsr_amsr.register
    import torch.distributed as dist
    from basicsr.utils.options import copy_opt_file
    from basicsr_amsr import UserError
    from basicsr_amsr.compat.distributed import agreed
    from basicsr_amsr.training.state import gathered

    def mistake():
        raise UserError(f'from {rank}')

    rank = 0 if os.fork() else 1
    dist.init_process_group('gloo', init_method=f'file://{os.getcwd()}/store', rank=rank, world_size=2)
    said = [agreed(lambda: rank + 7), gathered(rank)]
    try:
        agreed(mistake)
    except UserError as error:
        said.append(str(error))
    if rank == 0:
        time.sleep(1)  # the other process is ahead
        Path('experiment').mkdir()
    copy_opt_file('options.yml', 'experiment')
    assert Path('experiment/options.yml').is_file()
    Path(f'said{rank}').write_text(str(said))
    dist.destroy_process_group()
    if rank == 0:
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""


def test_the_first_process_decides_for_all(folder):
    (folder / 'options.yml').write_text('name: two')
    run(folder, TOGETHER, 'run.py')
    assert {(folder / f'said{rank}').read_text() for rank in (0, 1)} == {"[7, [0, 1], 'from 0']"}
