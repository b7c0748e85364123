"""Each mend of BasicSR has tests, and they fail once it is taken away."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from basicsr_amsr import patch_table
from basicsr_amsr.models.mended import MENDED

BEST = 'training/test_resume.py::test_best_figures_are_known_after_a_resume_and_later_ones_come_again'
IMPORTS = 'test_patch_table.py::test_import_without_the_modules_that_went_away_and_no_warnings'
# The test of each patch, and of each method that models have in place of BasicSR's.
TESTS = {
    'torchvision functional_tensor': IMPORTS,
    'scipy.ndimage.filters': IMPORTS,
    'distutils LooseVersion': IMPORTS,
    'torch.meshgrid warning': IMPORTS,
    'Registry.get': 'test_compat_models.py::test_registry_is_silent_and_finds_the_suffixed_name',
    'option values as YAML': 'options/test_parse.py::test_force_yml_runs_no_code',
    'eval of option strings': 'options/test_parse.py::test_old_value_function_runs_no_code',
    'safe YAML loader': 'options/test_parse.py::test_loader_keeps_order_and_merges',
    'init_dist': 'test_compat_distributed.py::test_without_gpus_gloo',
    'spawned data workers': 'test_compat_distributed.py::test_data_workers_that_start_afresh',
    'SwinIR.__init__': 'faults/test_networks.py::test_swinirs_values_that_do_not_go_together',
    'SwinIR.forward': 'faults/test_networks.py::test_basicsrs_swinir_takes_images_of_any_size',
    'build_model': 'faults/test_construction.py::test_values_that_an_optimizer_refuses',
    'copy_opt_file': 'test_compat_distributed.py::test_the_first_process_decides_for_all',
    'build_network': 'faults/test_construction.py::test_values_that_a_network_refuses',
    'build_loss': 'faults/test_construction.py::test_values_that_a_loss_refuses',
    'build_dataset': 'faults/test_construction.py::test_values_that_a_data_set_refuses',
    'init_tb_loggers': 'faults/test_construction.py::test_a_logger_that_cannot_be_started',
    'calculate_metric': 'faults/test_results.py::test_images_too_small_for_a_metric',
    'imwrite': 'faults/test_results.py::test_images_of_one_name_get_files_of_their_own',
    'add_jpg_compression': 'test_compat_models.py::test_jpeg_quality_is_rounded',
    'calculate_fid': 'test_compat_models.py::test_fid_against_the_matrix_root',
    'CUDAPrefetcher.next': 'training/test_overhead.py::test_the_prefetcher_names_the_stream_that_uses_the_batch',
    'load_resume_state': 'test_compat_models.py::test_auto_resume_takes_the_latest_state_of_this_root',
    'create_train_val_dataloader': 'training/test_resume.py::test_a_data_set_smaller_than_a_batch_is_one_line',
    'MessageLogger': 'training/test_log.py::test_a_run_logs_each_interval_by_itself',
    'AvgTimer': 'training/test_log.py::test_a_run_logs_each_interval_by_itself',
    '__init__': 'test_compat_models.py::test_num_gpu_without_cuda_runs_on_the_cpu_with_one_warning',
    'model_to_device': 'test_compat_distributed.py::test_two_processes_train_on_the_cpu',
    'load_network': 'test_compat_models.py::test_load_network',
    'save_network': 'faults/test_training.py::test_weights_that_are_not_finite_are_never_saved',
    'get_optimizer': 'faults/test_construction.py::test_values_that_an_optimizer_refuses',
    'setup_schedulers': 'faults/test_construction.py::test_values_that_a_scheduler_refuses',
    'save_training_state': 'training/test_resume.py::test_without_manual_seed_a_resumed_run_keeps_that_of_the_first',
    'resume_training': BEST,
    'validation': 'faults/test_training.py::test_the_last_validation_runs_once',
    '_update_best_metric_result': BEST,
    'reduce_loss_dict': 'training/test_overhead.py::test_losses_stay_tensors_until_they_are_read',
    'get_current_log': 'training/test_overhead.py::test_losses_stay_tensors_until_they_are_read',
    'model_ema': 'training/test_overhead.py::test_the_average_takes_two_operations_for_all_parameters',
    'RealESRGANModel.__init__': 'faults/test_training.py::test_realesrgan_on_the_cpu',
    'RealESRGANModel._dequeue_and_enqueue': 'faults/test_training.py::test_realesrgan_on_the_cpu',
    'RealESRNetModel.__init__': 'faults/test_training.py::test_realesrgan_on_the_cpu',
    'RealESRNetModel._dequeue_and_enqueue': 'faults/test_training.py::test_realesrgan_on_the_cpu',
    'SwinIRModel.test': 'faults/test_networks.py::test_swinirs_model_takes_every_network',
}


def mends() -> set[str]:
    """Names of all patches, and of all methods of the classes that mend models."""
    return {patch.name for patch in patch_table.PATCHES} | {
        name if theirs.__name__ == 'BaseModel' else f'{theirs.__name__}.{name}'
        for theirs, ours in MENDED.items() for name in vars(ours) if callable(getattr(ours, name))}


def test_each_mend_has_a_test():
    assert TESTS.keys() == mends()


@pytest.mark.slow
@pytest.mark.parametrize('name', TESTS)
def test_the_test_fails_without_it(repository, name):
    paths = [str(repository / 'tests' / 'without'), str(repository)]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'WITHOUT_PATCH': name}
    words = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider', f'tests/{TESTS[name]}']
    done = subprocess.run(words, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout[-2000:]
    assert f'FAILED tests/{TESTS[name]}' in done.stdout
