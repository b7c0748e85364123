"""SFM joins the training of MGA by its block in the option file, in every step."""
import copy

import pytest

from basicsr_amsr.registry import MODEL_REGISTRY
from tests.cli.conftest import options_to_train

LOSS = {'type': 'L1Loss'}
SFM = {'type': 'SFM', 'target': 'lq', 'mode': 'central', 'rate': 1}


@pytest.fixture
def inputs(monkeypatch):
    """The batches that MGAModel gets in training, with the step that each belongs to."""
    seen = []
    feed = MODEL_REGISTRY.get('MGAModel').feed_data

    def feed_data(self, data):
        if self.is_train:
            seen.append((self.step.variant, data['lq'].clone(), data['gt'].clone()))
        feed(self, data)

    monkeypatch.setattr(MODEL_REGISTRY.get('MGAModel'), 'feed_data', feed_data)
    return seen


def options():
    opt = options_to_train(model_type='MGAModel')
    opt['network_g'] = {'type': 'MGA', 'k': 0.5, 'backbone': {'type': 'FSRCNN', 'num_feat': 8, 'num_shrink': 4}}
    opt['train'] = {'total_iter': 6, 'optim_g': {'type': 'Adam'}, 'pixel_opt': LOSS, 'coarse_opt': LOSS,
                    'mask_opt': LOSS, 'steps': [{'variant': variant, 'iters': 2, 'warmup': 1} for variant in 'DAM']}
    return opt


@pytest.mark.parametrize('place', ['train', 'data set'])
def test_every_step_gets_masked_inputs_and_whole_targets(basicsr, inputs, place):
    plain = options()
    assert basicsr('train', plain)[0] == 0
    before, masked = list(inputs), copy.deepcopy(plain)
    inputs.clear()
    (masked['train'] if place == 'train' else masked['datasets']['train'])['transforms'] = [SFM]
    assert basicsr('train', masked)[0] == 0
    assert [step for step, _, _ in inputs] == ['D', 'D', 'A', 'A', 'M', 'M']
    for (_, lq, gt), (_, clean, target) in zip(inputs, before, strict=True):
        assert gt.equal(target) and not lq.equal(clean)
