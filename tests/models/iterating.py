"""A model in iterations of two small pairs of images each, without BasicSR's pipeline around it."""
import torch


def run_options(tmp_path, network, **train):
    """Options as BasicSR's pipeline completes them, of a training that saves in `tmp_path`."""
    path = {key: str(tmp_path / key) for key in ('models', 'training_states')}
    for key in path:
        (tmp_path / key).mkdir(exist_ok=True)
    return {'name': 'tiny', 'is_train': True, 'dist': False, 'num_gpu': 0, 'rank': 0, 'world_size': 1, 'scale': 2,
            'manual_seed': 3, 'network_g': network, 'path': path, 'train': train}


def batch(iteration):
    generator = torch.Generator().manual_seed(iteration)
    return {'lq': torch.rand(2, 3, 12, 14, generator=generator), 'gt': torch.rand(2, 3, 24, 28, generator=generator)}


def iterate(model, iterations):
    """The logs of these iterations."""
    logs = []
    for iteration in iterations:
        model.update_learning_rate(iteration)
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs
