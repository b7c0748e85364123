"""The sections that BasicSR's pipelines and this package read, whatever the model, the data set and the network.

An option that everything understands gets its field here, with type, range, default and meaning: it is then checked,
completed and listed in docs/options.md. What one class alone reads is declared beside that class (docs/plugins.md).
"""
from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator
from typing_extensions import Self

from basicsr_amsr.options.section import (
    Count,
    Decay,
    File,
    Folders,
    Iterations,
    IterationsOrNone,
    Loss,
    Metric,
    Name,
    Number,
    OpenSection,
    Optimizer,
    Positive,
    SampleTransformOptions,
    Scheduler,
    Section,
    Words,
)

PHASES = {True: ('train', 'val'), False: ('val', 'test')}


class Top(Section):
    """The file itself."""

    name: Annotated[Name, Words('the name of a folder, without / and \\')] = Field(
        description='name of the run: results go to experiments/NAME or results/NAME')
    model_type: str = Field(description='a model of `basicsr list model`, such as SRModel or MGAModel')
    scale: Positive | None = Field(None, description='upscaling factor; 1 for restoration at the same size')
    num_gpu: Annotated[Count | Literal['auto'], Words('a whole number, 0 or more, or auto')] = Field(
        'auto', description='GPUs to use; 0 for the CPU, auto for all there are')
    manual_seed: Count | None = Field(None, description='random seed; default: another one at every run')
    datasets: dict[str, Any] = Field(description='data sets: `train`, `val`, `test`, also with _1, _2 …')
    network_g: Annotated[Any, Words('{type: …}')] = Field(
        None, description='the network; some models have network_d beside it')
    path: dict[str, Any] | None = Field(None, description='weights and saved states to start from')
    train: dict[str, Any] | None = Field(None, description='training: length, optimizer, losses')
    val: dict[str, Any] | None = Field(None, description='validation and testing; without it nothing is validated')
    logger: dict[str, Any] | None = Field(None, description='how often to log and to save')
    plugins: list[str] | None = Field(None, description='modules with networks and parts of your own (plugins.md)')
    base: Annotated[str | list[str] | None, Words('a file, or a list of files')] = Field(
        None, description='option files to start from; what stands here goes over them')
    demo: dict[str, Any] | None = Field(None, description='what `basicsr train --demo` puts over the other options')
    dist_params: dict[str, Any] | None = Field(None, description='arguments of init_dist under slurm')
    find_unused_parameters: bool = Field(False, description="DistributedDataParallel's option of that name")

    @model_validator(mode='after')
    def _check_name(self) -> Self:
        name = str(self.name)
        if name in ('', '.', '..') or '/' in name or '\\' in name:
            raise ValueError(f'name is {name!r}: it has to be the name of a folder, without / and \\.')
        return self


class Logger(Section):
    """`logger:`"""

    print_freq: Iterations = Field(100, description='iterations between two lines of the log')
    save_checkpoint_freq: Iterations = Field(5000, description='iterations between two saved states')
    use_tb_logger: bool = Field(False, description='write TensorBoard files')
    wandb: dict[str, Any] | None = Field(None, description='{project: …, resume_id: …} of Weights & Biases')


class Val(Section):
    """`val:`"""

    val_freq: Iterations = Field(5000, description='iterations between two validations')
    save_img: bool = Field(False, description='write the images')
    suffix: str | None = Field(None, description="behind the names of images; default: the run's name")
    metrics: dict[str, Metric] | None = Field(None, description='NAME: {type: a metric of `basicsr list metric`, …}')
    dtype: Literal['fp32', 'fp16', 'bf16'] = Field(
        'fp32', description='what networks compute in, in tests and validations; masks, images and metrics are fp32')
    engine: Literal['auto', 'torch', 'native'] = Field(
        'auto', description='what runs networks on a CPU in tests and validations. native: the native kernels; auto: '
                            'they run mask-guided networks, torch plain ones')
    pbar: bool | None = Field(None, description='progress bar; default: where there is a terminal')


class Path(Section):
    """`path:`; every network NAME of `network_NAME:` has its own three keys, here those of `network_g:`."""

    pretrain_network_g: File | None = Field(None, description='weights to start from')
    strict_load_g: bool = Field(True, description='weights have to fit key by key')
    param_key_g: str | None = Field('params', description='which weights of the file: params or params_ema')
    resume_state: File | None = Field(None, description='saved state to go on from; `--auto_resume` finds the latest')
    ignore_resume_networks: list[str] | None = Field(None, description='networks that keep their own weights on resume')


class IOBackend(OpenSection):
    """`io_backend:`"""

    type: str = Field(description='disk, lmdb or memcached')


class Dataset(Section):
    """One data set under `datasets:`, whatever its type."""

    type: str | None = Field(None, description='a data set of `basicsr list dataset`')
    name: Name | None = Field(None, description='name in logs and results; default: its key')
    io_backend: IOBackend | None = Field(None, description='where the images are')
    batch_size_per_gpu: Positive | None = Field(None, description='training: images per step and GPU')
    num_worker_per_gpu: Count | None = Field(None, description='training: processes that load, per GPU')
    dataset_enlarge_ratio: Positive = Field(1, description='training: how often an epoch goes through the images')
    memory: Literal['host', 'device'] | None = Field(None, description='training: hold decoded images in memory')
    transforms: list[SampleTransformOptions] | None = Field(
        None, description='training: transforms of each sample, by the data workers, {type: …, target: lq, …}')
    use_shuffle: bool = Field(True, description='read by no part of BasicSR 1.4.2: training always shuffles')
    prefetch_mode: Literal['cpu', 'cuda'] | None = Field(None, description='load ahead in a thread, or onto the GPU')
    num_prefetch_queue: Positive = Field(1, description='batches loaded ahead with `prefetch_mode: cpu`')
    pin_memory: bool = Field(False, description="PyTorch's option of that name; `prefetch_mode: cuda` needs it")
    persistent_workers: bool = Field(False, description="PyTorch's option of that name")
    phase: Literal['train', 'val', 'test'] | None = Field(None, description='set by the pipeline from the key')
    scale: Positive | None = Field(None, description='set by the pipeline from the top level')

    @model_validator(mode='after')
    def _check_training(self, info: ValidationInfo) -> Self:
        context = info.context or {}
        phase, scale = context.get('phase', self.phase), context.get('scale', self.scale)
        scale = scale if isinstance(scale, int) and scale > 0 else 1  # one that is none has a line of its own
        gt_size = getattr(self, 'gt_size', None)
        if isinstance(gt_size, int) and phase == 'train' and gt_size % scale:
            raise ValueError(f'gt_size {gt_size} is no multiple of scale {scale}; '
                             f'{gt_size // scale * scale or scale} is.')
        if self.transforms and phase != 'train':
            raise ValueError('transforms are for training; to test on degraded images use DegradedPairDataset.')
        if self.prefetch_mode == 'cuda' and not self.pin_memory:
            raise ValueError('prefetch_mode: cuda needs pin_memory: true.')
        return self


class Compile(Section):
    """`compile:` under `train:`"""

    mode: str = Field('default', description="torch.compile's mode, such as max-autotune")


class Train(Section):
    """`train:`, whatever the model."""

    total_iter: Iterations = Field(description='iterations of the whole run')
    channels_last: bool = Field(False, description='weights and images pixel by pixel in memory (training_speed.md)')
    amp: Literal['bf16'] | None = Field(None, description='bf16 for autocast in the forward pass')
    transforms: list[SampleTransformOptions] | None = Field(
        None, description='transforms of whole training batches, on the device, {type: …, target: lq, …}')
    compile: bool | Compile = Field(False, description='torch.compile, of a mode with {mode: …}')


class BasicSRDataset(Dataset):
    """A data set that declares no section of its own: what those of BasicSR share, and what its source reads."""

    dataroot_gt: Folders | None = Field(None, description='HR images')
    dataroot_lq: Folders | None = Field(None, description='LR images')
    meta_info_file: File | None = Field(None, description='list of the image names')
    filename_tmpl: str | None = Field(None, description="name of an LR file, from that of its HR file: '{}x4'")
    gt_size: Positive | None = Field(None, description='side of a training crop in HR pixels, a multiple of the scale')
    use_hflip: bool | None = Field(None, description='training: flips; to be written, true or false')
    use_rot: bool | None = Field(None, description='training: rotation by 90°; to be written, true or false')
    color: Literal['y'] | None = Field(None, description='y for luma')
    mean: list[float] | None = Field(None, description='subtracted')
    std: list[float] | None = Field(None, description='divided by')
    num_frame: Annotated[int, Field(ge=-1)] | None = Field(None, description='frames of a video clip; -1 for all')
    interval_list: list[Positive] | None = Field(None, description='steps between the frames of a clip')
    cache_data: bool = Field(False, description='keep the frames in memory')


class BasicSRTrain(Train):
    """`train:` of a model that declares none: what those of BasicSR share, and what its source reads."""

    optim_g: Optimizer | None = Field(None, description='{type: Adam, lr: …}')
    optim_d: Optimizer | None = Field(None, description='optimizer of the discriminator')
    scheduler: Scheduler | None = Field(None, description='{type: MultiStepLR, …} or CosineAnnealingRestartLR')
    pixel_opt: Loss | None = Field(None, description='loss on the image, such as {type: L1Loss, loss_weight: 1}')
    perceptual_opt: Loss | None = Field(None, description='loss on the features of VGG')
    warmup_iter: Annotated[int, Field(ge=-1)] = Field(-1, description='iterations of warm-up; -1 for none')
    ema_decay: Decay = Field(0.0, description='weight of the past in the moving average of the weights; 0 for none')
    net_d_iters: Iterations = Field(1, description='steps of the discriminator for each of the generator')
    net_d_init_iters: IterationsOrNone = Field(0, description='iterations before the generator joins')
    tsa_iter: IterationsOrNone | None = Field(None, description='EDVR: iterations of TSA alone')
    dcn_lr_mul: Number = Field(1, description='EDVR: factor on the learning rate of deformable convolutions')
    fix_flow: IterationsOrNone | None = Field(None, description='iterations with the optical flow fixed')
    flow_lr_mul: Number = Field(1, description='factor on the learning rate of the optical flow')


SECTIONS: dict[str, type[Section]] = {'train': Train, 'val': Val, 'logger': Logger, 'path': Path}
SHARED: dict[str, type[Section]] = {'train': BasicSRTrain, 'dataset': BasicSRDataset}
