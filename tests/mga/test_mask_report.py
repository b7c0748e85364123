"""Figures and picture of an error mask."""
import math

import numpy as np
import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.mga.mask import error_target
from basicsr_amsr.mga.mask_report import CURRENT, GAP, MaskReport, calculate_mask_l1, report_mask
from basicsr_amsr.mga.network import MGA
from tests.mga.toy import registered


def test_figures_of_a_mask_by_hand():
    report = MaskReport(predicted=np.array([[0.1, 0.35], [0.9, -0.2]]), true=np.array([[0.0, 0.5], [1.0, 0.1]]),
                        chosen=np.array([[False, True], [True, False]]))
    figures = report.figures()
    assert figures['l1'] == pytest.approx((0.1 + 0.15 + 0.1 + 0.3) / 4)
    assert figures['keep'] == 0.5 and figures['top'] == 1.0
    assert figures['true_histogram'] == [0.25, 0.25, 0, 0, 0, 0.25, 0, 0, 0, 0.25]
    assert figures['predicted_histogram'] == [0.25, 0.25, 0, 0.25, 0, 0, 0, 0, 0, 0.25]
    half = MaskReport(report.predicted / 2, report.true / 2, report.chosen).figures()
    assert half['top'] == 0.5 and half['true_histogram'] == figures['true_histogram']
    nothing = MaskReport(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1), bool)).figures()
    assert nothing['true_histogram'][0] == 1.0


def test_the_picture_shows_both_errors_on_one_scale_and_the_chosen_patches():
    report = MaskReport(predicted=np.array([[0.0, 1.0], [0.5, 2.0]]), true=np.array([[0.0, 0.5], [1.0, 0.0]]),
                        chosen=np.array([[True, False], [False, True]]))
    image = np.full((7, 8, 3), 200, np.uint8)  # the lower patches are cut off
    picture = report.picture(image, 4)
    assert picture.shape == (7, 3 * 8 + 2 * GAP, 3) and picture.dtype == np.uint8
    predicted, chosen, true = picture[:, :8], picture[:, 8 + GAP:16 + GAP], picture[:, -8:]
    assert (chosen[:4, :4] == 200).all() and (chosen[4:, 4:] == 200).all()
    assert (chosen[:4, 4:] == 70).all() and (chosen[4:, :4] == 70).all()
    assert (predicted[:4, :4] == true[:4, :4]).all()  # both 0
    assert (predicted[:4, 4:] == true[4, 0]).all()  # both 1, the largest true error
    assert (predicted[4:, 4:] == predicted[0, 4]).all()  # beyond it
    assert (predicted[4:, :4] == true[0, 4]).all()  # both 0.5
    assert len(np.unique(true.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize('supervision', ['normalized', 'absolute'])
@torch.no_grad()
def test_the_report_of_a_network(supervision):
    net = MGA(registered(), k=3).eval()
    net.mask.set_supervision(supervision)
    x = torch.rand(1, 3, 10, 13)
    report = report_mask(net, x)
    feature = net.base.extract(x)
    predicted = net.mask(feature)
    net.set_variant('A')
    true = error_target(net.base(x), net(x), 2, 4, normalize=supervision == 'normalized')
    net.set_variant('M')
    assert report.l1 == pytest.approx(float((predicted - true).abs().mean()), rel=1e-5)
    index = net.select(feature)
    assert [tuple(place) for place in np.argwhere(report.chosen)] == list(zip(index.row.tolist(), index.col.tolist(),
                                                                             strict=True))
    net.order = 'oracle'
    chosen = report_mask(net, x).chosen
    assert sorted(report.true[chosen]) == pytest.approx(sorted(report.true.flatten())[-3:])


def test_the_metric_needs_a_mask():
    with pytest.raises(UserError, match='MGAModel'):
        calculate_mask_l1(np.zeros((2, 2, 3)))
    token = CURRENT.set(None)
    assert math.isnan(calculate_mask_l1(np.zeros((2, 2, 3))))
    CURRENT.reset(token)
