"""`basicsr test` and `basicsr train` report the masks of an MGA network."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import METRICS, error_line, options_to_test, options_to_train, pairs

NETWORK = {'type': 'MGA', 'backbone': {'type': 'FSRCNN', 'upscale': 2, 'num_feat': 6, 'num_shrink': 4}, 'k': 5}
MASK_L1 = {'mask_l1': {'type': 'calculate_mask_l1', 'better': 'lower'}}


def validation(**more):
    return {'save_img': False, 'suffix': None, 'metrics': {**METRICS, **MASK_L1}, **more}


def test_pictures_and_figures_of_every_mask(basicsr):
    code, out, err = basicsr('test', options_to_test(model_type='MGAModel', network_g=NETWORK,
                                                     val=validation(save_masks=True)))
    assert code == 0, err
    folder = Path('results/tiny/visualization/masks/Three')
    figures = json.loads((folder / 'masks.json').read_text())
    metric = json.loads(Path('results/tiny/metrics.json').read_text())['Three']['mask_l1']
    assert sorted(figures['images']) == ['a', 'b', 'c']
    for name, entry in figures['images'].items():
        assert entry['l1'] == pytest.approx(metric['images'][name])
        assert entry['keep'] == 5 / 16
        assert sum(entry['true_histogram']) == pytest.approx(1)
        assert cv2.imread(str(folder / f'{name}_mask.png')).shape == (32, 3 * 32 + 2 * 4, 3)
    assert figures['mean']['l1'] == pytest.approx(metric['mean'])
    assert 'mask_l1' in out


def test_the_order_best_gets_the_ground_truth(basicsr):
    options = options_to_test(model_type='MGAModel', network_g={**NETWORK, 'order': 'best'}, val=validation())
    code, _, err = basicsr('test', options)
    assert code == 0, err
    options['datasets'] = {'test_1': {'name': 'LR', 'type': 'SingleImageDataset', 'dataroot_lq': 'data/lq',
                                      'io_backend': {'type': 'disk'}}}
    options['val'] = {'save_img': True, 'suffix': None}
    code, _, err = basicsr('test', options)
    assert code == 2 and 'ground truth' in error_line(err)


def test_masks_of_another_network_are_one_line(basicsr):
    code, _, err = basicsr('test', options_to_test(val=validation()))
    assert code == 2 and 'model_type: MGAModel' in error_line(err)
    code, _, err = basicsr('test', options_to_test(model_type='MGAModel'))
    assert code == 2 and 'model_type: SRModel' in error_line(err)


def test_a_training_shows_its_masks_in_tensorboard(basicsr):
    event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    loss = {'type': 'L1Loss', 'loss_weight': 1}
    train = {'total_iter': 2, 'optim_g': {'type': 'Adam'}, 'pixel_opt': loss, 'coarse_opt': loss, 'mask_opt': loss,
             'steps': [{'variant': v, 'iters': 1, 'warmup': 0} for v in 'AM']}
    options = options_to_train(model_type='MGAModel', network_g=NETWORK, train=train,
                               val=validation(val_freq=1, save_masks=True))
    options['datasets']['val'] = pairs(name='Three')
    options['logger']['use_tb_logger'] = True
    code, _, err = basicsr('train', options)
    assert code == 0, err
    folder = Path('experiments/tiny/visualization/masks')
    assert [path.name for path in folder.iterdir()] == ['2']  # step A has no mask
    l1 = json.loads((folder / '2' / 'Three' / 'masks.json').read_text())['mean']['l1']
    events = event_accumulator.EventAccumulator('tb_logger/tiny')
    events.Reload()
    assert events.Scalars('masks/Three/l1')[0].value == pytest.approx(l1)
    shown = events.Images('masks/Three/a')[0]
    picture = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(picture, cv2.imread(str(folder / '2' / 'Three' / 'a_mask.png')))
