"""Everything that is patched in BasicSR, in the order in which it is applied: what it does and why."""
from __future__ import annotations

from basicsr_amsr.compat.importing import FOR_IMPORT, load
from basicsr_amsr.compat.patching import ISSUES, OUTCOMES, Patch, replace_in_importers

# What BasicSR does wrong, or says in a page instead of a line.
REPAIRS: tuple[Patch, ...] = (
    Patch(
        name='Registry.get',
        reason='prints "Name X is not found, use name: X_basicsr!" even where nothing of that name exists',
        does='prints nothing; a missing name is a KeyError in one line that lists the near names',
        replaces='basicsr.utils.registry.Registry.get', by='compat.registry_get.get',
        upstream=(f'{ISSUES}683', f'{ISSUES}723')),
    Patch(
        name='option values as YAML',
        reason='--force_yml puts keys and values through exec and eval, so an option string can run code, and it '
               'can make no new keys',
        does='parses the values of --force_yml as YAML and makes keys; accepts --local-rank; gives one line for '
             'missing sections; runs OPTION_HOOKS and loads plugins',
        replaces='basicsr.utils.options.parse_options', by='options.parse.parse_options',
        upstream=(f'{ISSUES}626',)),
    Patch(
        name='eval of option strings',
        reason='_postprocess_yml_value calls eval on whatever begins with "["',
        does='parses the value as YAML',
        replaces='basicsr.utils.options._postprocess_yml_value', by='options.plain_yaml.parse_value'),
    Patch(
        name='safe YAML loader',
        reason='option files are read with a loader that runs code (python/object tags)',
        does='reads plain values only, in order; 1e-4 is a float',
        replaces='basicsr.utils.options.ordered_yaml', by='options.plain_yaml.ordered_yaml',
        upstream=(f'{ISSUES}768',)),
    Patch(
        name='init_dist',
        reason='NCCL and rank % 0 without CUDA; LOCAL_RANK of torchrun is not used; a validation of 10 minutes ends '
               'the run',
        does='uses Gloo without CUDA and the GPU of LOCAL_RANK with it; keeps the start method of processes; waits for '
             'four hours, or as dist_params: timeout says',
        replaces='basicsr.utils.dist_util.init_dist', by='compat.distributed.init_dist',
        upstream=(f'{ISSUES}626',)),
    Patch(
        name='spawned data workers',
        reason='a data worker that starts afresh (Windows, macOS) imports BasicSR without these patches and fails',
        does='mends it there first',
        replaces='basicsr.data.build_dataloader', by='data.workers.build_dataloader'),
    *(Patch(
        name=f'SwinIR.{method}',
        reason='an image or img_size that is no multiple of the window is a page about shapes',
        does='pads by reflection and crops; heads and channels that do not go together are one line',
        replaces=f'basicsr.archs.swinir_arch.SwinIR.{method}', by=f'compat.swinir.{ours}')
      for method, ours in (('__init__', 'init'), ('forward', 'forward'))),
    Patch(
        name='build_model',
        reason="what BasicSR's models do wrong, and what they do not do when they train (docs/compat.md lists it by "
               'method)',
        does="builds the class that the options name over `training.trained_model.TrainedModel`; BasicSR's classes "
             'stay as they are',
        replaces='basicsr.models.build_model', by='models.mended.build_model',
        upstream=(f'{ISSUES}107', f'{ISSUES}253')),
    Patch(
        name='copy_opt_file',
        reason='every process copies the option file, also one that is ahead of the first, which makes the folders',
        does='the first process copies, the others wait for it',
        replaces='basicsr.utils.options.copy_opt_file', by='options.parse.copy_opt_file'),
    *(Patch(
        name=name,
        reason=f'whatever the constructor of {what} raises is a page of text without the key',
        does='one line with the key, the values and the reason',
        replaces=f'{module}.{name}', by=f'{ours}.{name}')
      for module, name, what, ours in (('basicsr.archs', 'build_network', 'a network', 'compat.construction'),
                                       ('basicsr.losses', 'build_loss', 'a loss', 'compat.construction'),
                                       ('basicsr.data', 'build_dataset', 'a data set', 'data.items'),
                                       ('basicsr.train', 'init_tb_loggers', 'a logger', 'compat.construction'))),
    Patch(
        name='calculate_metric',
        reason='an image that is too small or of another size than its ground truth is a page of text without its '
               'name, or nan in the table',
        does='one line with the image, its size and the metric',
        replaces='basicsr.metrics.calculate_metric', by='compat.metrics.calculate_metric'),
    Patch(
        name='imwrite',
        reason='images of one name in different folders are written over one another',
        does='puts them into folders; a file that cannot be written is one line',
        replaces='basicsr.utils.img_util.imwrite', by='training.image_files.imwrite'),
    Patch(
        name='add_jpg_compression',
        reason='OpenCV from 4.5.4 on refuses a JPEG quality that is no whole number',
        does='rounds it',
        replaces='basicsr.data.degradations.add_jpg_compression', by='compat.numerics.add_jpg_compression',
        upstream=(f'{ISSUES}578',)),
    Patch(
        name='calculate_fid',
        reason='scipy.linalg.sqrtm lost its argument disp in SciPy 1.18',
        does='takes the trace of the root from symmetric eigenvalues',
        replaces='basicsr.metrics.fid.calculate_fid', by='compat.numerics.calculate_fid'),
    Patch(
        name='CUDAPrefetcher.next',
        reason='the memory of a batch is used again while a GPU that is behind the program may still read it',
        does='tells PyTorch that the stream of the training uses it',
        replaces='basicsr.data.prefetch_dataloader.CUDAPrefetcher.next', by='training.overhead.next_on_stream'),
)

# What trainings do beside (docs/training.md). BasicSR's runner calls these by name: no option puts another loader,
# logger or timer in their place.
TRAINING: tuple[Patch, ...] = (
    Patch(
        name='load_resume_state',
        reason='resuming calls torch.cuda.current_device(), looks under the working directory for --auto_resume, '
               'and a wrong or truncated file ends in a page of text',
        does='resumes without CUDA, from the newest state of this experiment that can be read; reads as data only',
        replaces='basicsr.train.load_resume_state', by='training.resume.load_resume_state',
        upstream=(f'{ISSUES}717',)),
    Patch(
        name='create_train_val_dataloader',
        reason='a resumed run begins its epoch again; crops depend on workers and processes; a worker draws the same '
               'in each epoch; a data set smaller than a batch trains nothing',
        does='order, crops and flips follow from the seed, epoch and sample alone; goes on inside an epoch',
        replaces='basicsr.train.create_train_val_dataloader', by='training.loaders.create_train_val_dataloader'),
    Patch(
        name='MessageLogger',
        reason='the ETA is wrong after a resume and negative at the end; no throughput',
        does='its line with images/s, the share of time that waits for data, and GPU memory; an ETA that comes true',
        replaces='basicsr.utils.logger.MessageLogger', by='training.log.TrainingLog'),
    Patch(
        name='AvgTimer',
        reason='times the program, which runs ahead of the GPU, and averages over intervals of its own',
        does='times the GPU where there is one; averages from line to line of the log',
        replaces='basicsr.utils.logger.AvgTimer', by='training.interval_timer.IntervalTimer'),
)

PATCHES = (*FOR_IMPORT, *REPAIRS, *TRAINING)


def apply() -> None:
    """Apply every patch of `PATCHES`; applying twice changes nothing.

    Raises:
        ImportError: BasicSR is not installed.
    """
    load()
    for patch in PATCHES:
        if patch not in FOR_IMPORT:
            OUTCOMES[patch.name] = patch.apply()
    replace_in_importers()
