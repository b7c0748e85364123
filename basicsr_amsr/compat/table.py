"""The patches, in the order in which they are applied."""
from __future__ import annotations

import importlib

from basicsr_amsr.compat.modules import alias_functional_tensor, alias_ndimage_filters, lend_loose_version
from basicsr_amsr.compat.numerics import quiet_meshgrid
from basicsr_amsr.compat.patching import Patch, replace_function, replace_method

ISSUES = 'https://github.com/XPixelGroup/BasicSR/issues/'


def _function(module: str, name: str, ours: str) -> str:
    """Replace `module.name` by `ours` ('file.function' of this package), imported only now: it imports BasicSR."""
    file, function = ours.split('.')
    new = getattr(importlib.import_module(f'basicsr_amsr.compat.{file}'), function)
    return replace_function(importlib.import_module(module), name, new)


def _method(module: str, cls: str, name: str, ours: str) -> str:
    file, function = ours.split('.')
    new = getattr(importlib.import_module(f'basicsr_amsr.compat.{file}'), function)
    return replace_method(getattr(importlib.import_module(module), cls), name, new)


PATCHES: tuple[Patch, ...] = (
    Patch(
        name='torchvision functional_tensor',
        reason='basicsr.data imports torchvision.transforms.functional_tensor, removed in torchvision 0.17',
        does='provides a module of that name with rgb_to_grayscale',
        apply=alias_functional_tensor,
        upstream=(f'{ISSUES}533', f'{ISSUES}663', f'{ISSUES}711'),
        before_import=True),
    Patch(
        name='scipy.ndimage.filters',
        reason='basicsr.metrics.niqe imports scipy.ndimage.filters, deprecated and gone with SciPy 2',
        does='provides a module of that name with the functions of scipy.ndimage',
        apply=alias_ndimage_filters,
        before_import=True),
    Patch(
        name='distutils LooseVersion',
        reason='basicsr.archs.arch_util imports distutils, which Python 3.12 and later lack without setuptools',
        does='lends it a LooseVersion while it is imported',
        apply=lend_loose_version,
        before_import=True),
    Patch(
        name='Registry.get',
        reason='prints "Name X is not found, use name: X_basicsr!" even where nothing of that name exists',
        does='prints nothing; a missing name is a KeyError in one line that lists the near names',
        apply=lambda: _method('basicsr.utils.registry', 'Registry', 'get', 'registry.get'),
        upstream=(f'{ISSUES}683', f'{ISSUES}723')),
    Patch(
        name='option values as YAML',
        reason='--force_yml puts keys and values through exec and eval, so an option string can run code, and it '
               'can make no new keys',
        does='parses the values of --force_yml as YAML and makes keys; accepts --local-rank; gives one line for '
             'missing sections; runs OPTION_HOOKS and loads plugins',
        apply=lambda: _function('basicsr.utils.options', 'parse_options', 'options.parse_options'),
        upstream=(f'{ISSUES}626',)),
    Patch(
        name='eval of option strings',
        reason='_postprocess_yml_value calls eval on whatever begins with "["',
        does='parses the value as YAML',
        apply=lambda: _function('basicsr.utils.options', '_postprocess_yml_value', 'option_yaml.parse_value')),
    Patch(
        name='safe YAML loader',
        reason='option files are read with a loader that runs code (python/object tags)',
        does='reads plain values only, in order; 1e-4 is a float',
        apply=lambda: _function('basicsr.utils.options', 'ordered_yaml', 'option_yaml.ordered_yaml'),
        upstream=(f'{ISSUES}768',)),
    Patch(
        name='init_dist',
        reason='NCCL and rank % 0 without CUDA; LOCAL_RANK of torchrun is not used',
        does='uses Gloo without CUDA and the GPU of LOCAL_RANK with it; keeps the start method of processes',
        apply=lambda: _function('basicsr.utils.dist_util', 'init_dist', 'distributed.init_dist'),
        upstream=(f'{ISSUES}626',)),
    Patch(
        name='spawned data workers',
        reason='a data worker that starts afresh (Windows, macOS) imports BasicSR without these patches and fails',
        does='makes it import basicsr_amsr first',
        apply=lambda: _function('basicsr.data', 'build_dataloader', 'workers.build_dataloader')),
    Patch(
        name='num_gpu without CUDA',
        reason='num_gpu above 0 fails on a machine without CUDA',
        does='runs on the CPU with one line of warning',
        apply=lambda: _method('basicsr.models.base_model', 'BaseModel', '__init__', 'devices.init_model'),
        upstream=(f'{ISSUES}107',)),
    Patch(
        name='model_to_device',
        reason='DistributedDataParallel gets a CUDA device id on the CPU',
        does='gives it none there',
        apply=lambda: _method('basicsr.models.base_model', 'BaseModel', 'model_to_device',
                              'devices.model_to_device')),
    Patch(
        name='load_network',
        reason='the error for an unsafe or damaged checkpoint is a page that names no file, TORCH_FORCE_NO_WEIGHTS_'
               "ONLY_LOAD lets it run code, and a file of bare weights fails with KeyError: 'params'",
        does='reads as data only; accepts bare weights; one line names the file and what does not fit',
        apply=lambda: _method('basicsr.models.base_model', 'BaseModel', 'load_network', 'checkpoints.load_network'),
        upstream=(f'{ISSUES}253',)),
    Patch(
        name='load_resume_state',
        reason='resuming calls torch.cuda.current_device(), looks under the working directory for --auto_resume, '
               'and a wrong file ends in KeyError',
        does='resumes without CUDA and from the experiment of this root; reads as data only',
        apply=lambda: _function('basicsr.train', 'load_resume_state', 'resume.load_resume_state'),
        upstream=(f'{ISSUES}717',)),
    Patch(
        name='add_jpg_compression',
        reason='OpenCV from 4.5.4 on refuses a JPEG quality that is no whole number',
        does='rounds it',
        apply=lambda: _function('basicsr.data.degradations', 'add_jpg_compression', 'numerics.add_jpg_compression'),
        upstream=(f'{ISSUES}578',)),
    Patch(
        name='calculate_fid',
        reason='scipy.linalg.sqrtm lost its argument disp in SciPy 1.18',
        does='takes the trace of the root from symmetric eigenvalues',
        apply=lambda: _function('basicsr.metrics.fid', 'calculate_fid', 'numerics.calculate_fid')),
    Patch(
        name='torch.meshgrid warning',
        reason='SwinIR and flow_warp call torch.meshgrid without indexing, and PyTorch warns',
        does='ignores that one warning',
        apply=quiet_meshgrid),
)
