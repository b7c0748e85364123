"""Predictions of a calibration that are trained with the network: rate, files, resuming, restoring."""
import copy

import pytest
import torch

from basicsr_amsr.amsr import AMSRConfig, accelerate_, restore_
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.calibration.trained import TrainedPrediction, trained_calibration
from basicsr_amsr.execution.torch_sparse.masked import run_masked
from basicsr_amsr.execution.torch_sparse.read_network import read_network
from basicsr_amsr.models.amsr_model import AMSRModel
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.models.iterating import batch, iterate
from tests.models.tiny_amsr import SELECTION, calibration, options, plain_network, resumed


def flat(prediction):
    tensors = [tensor for affine in (*prediction.contexts.values(), prediction.tail.feature)
               for tensor in (affine.weight, affine.bias, affine.narrow) if tensor is not None]
    return torch.cat([tensor.detach().flatten() for tensor in (*tensors, prediction.tail.image)])


def test_predictions_train_with_a_rate_of_their_own(tmp_path):
    network = calibration(tmp_path)
    model = AMSRModel(options(tmp_path, network, prediction_lr=2e-3))
    data, start = batch(1), Calibration.load(network['calibration'])
    # By hand: the plain network's parameters beside the predictions, each with its optimizer.
    student, teacher = plain_network(), plain_network()
    trained = TrainedPrediction(start.prediction)
    program, selection = read_network(student), HighFrequencyMask(**SELECTION)
    image = run_masked(program, student, data['lq'], selection.patches(data['lq']), 4, trained.prediction())
    with torch.no_grad():
        target = teacher(data['lq'])
    (0.75 * (image - data['gt']).abs().mean() + 20 * ((image - target) ** 2).mean()).backward()
    torch.optim.Adam(student.parameters(), lr=1e-3).step()
    torch.optim.Adam(trained.parameters(), lr=2e-3).step()
    iterate(model, [1])
    for key, value in student.state_dict().items():
        torch.testing.assert_close(model.net_g.state_dict()[key], value, rtol=1e-3, atol=1e-5)
    now = trained_calibration(model.net_g).prediction
    moved = flat(now) - flat(start.prediction)
    torch.testing.assert_close(moved, flat(trained.prediction()) - flat(start.prediction), rtol=0.02, atol=2e-5)
    assert moved.abs().max() == pytest.approx(2e-3, rel=0.02)


def test_a_calibration_is_saved_beside_each_checkpoint(tmp_path):
    network = calibration(tmp_path)
    model = AMSRModel(options(tmp_path, network, prediction_lr=1e-2, ema_decay=0.5))
    iterate(model, [1, 2, 3])
    model.save(0, 3)
    saved = torch.load(tmp_path / 'models' / 'net_g_3.pth', weights_only=True)
    assert saved.keys() == {'params', 'params_ema', 'predictions', 'predictions_ema'}
    assert list(saved['params']) == list(saved['params_ema']) == list(plain_network().state_dict())
    average = Calibration.load(tmp_path / 'models' / 'net_g_3.amsr')
    assert average.fit == Calibration.load(network['calibration']).fit
    torch.testing.assert_close(flat(average.prediction), flat(model.net_g_ema.amsr_predictions.prediction()))
    assert (flat(average.prediction) - flat(model.net_g.amsr_predictions.prediction())).abs().max() > 1e-3
    # Weights and file give what the training validates.
    model.feed_data(batch(0))
    model.test()
    net = plain_network().eval()
    net.load_state_dict(saved['params_ema'])
    accelerate_(net, AMSRConfig(calibration=average, mode='sparse'))
    with torch.no_grad():
        torch.testing.assert_close(net(batch(0)['lq']), model.output, rtol=1e-4, atol=1e-5)


def test_trained_predictions_resume_bit_by_bit(tmp_path):
    opt = options(tmp_path, calibration(tmp_path), prediction_lr=1e-2, ema_decay=0.5)
    whole = AMSRModel(copy.deepcopy(opt))
    expected = iterate(whole, range(1, 7))
    model = resumed(tmp_path, opt, 3)
    assert iterate(model, range(4, 7)) == expected[3:]
    for one, other in ((model.net_g, whole.net_g), (model.net_g_ema, whole.net_g_ema)):
        assert torch.equal(flat(one.amsr_predictions.prediction()), flat(other.amsr_predictions.prediction()))


def test_trained_predictions_are_gone_once_the_network_is_restored(tmp_path):
    model = AMSRModel(options(tmp_path, calibration(tmp_path), prediction_lr=1e-2))
    names = [name for name, _ in plain_network().named_parameters()]
    assert [name for name, _ in model.net_g.named_parameters()] != names
    assert [name for name, _ in restore_(model.net_g).named_parameters()] == names
