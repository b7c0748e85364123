"""The gradient that the mask gets through the selection."""
import pytest
import torch

from basicsr_amsr.mga.gate import blend, straight_through
from basicsr_amsr.mga.halo_patches import PatchIndex
from basicsr_amsr.mga.network import MGA
from tests.mga.toy import SCALE, registered


def test_blend_is_exact_at_its_ends_and_has_the_right_gradient():
    torch.manual_seed(0)
    coarse, refined = (torch.rand(2, 3, 5, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    gate = torch.tensor([0.0, 1, 0, 1, 1, 0]).view(1, 1, 2, 3).repeat(2, 1, 1, 1)
    image = blend(coarse, refined, gate, 3)
    for row in range(5):
        for col in range(7):
            source = refined if gate[0, 0, row // 3, col // 3] else coarse
            assert torch.equal(image[..., row, col], source[..., row, col])
    soft = torch.rand(2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *tensors: blend(*tensors, 3), (coarse, refined, soft))


def test_the_gate_is_hard_and_its_gradient_is_the_masks_without_its_mean():
    mask = torch.rand(2, 1, 3, 4, requires_grad=True)
    index = PatchIndex(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), torch.tensor([3, 1, 0]))
    gate = straight_through(mask, index)
    expected = torch.zeros(2, 1, 3, 4)
    expected[0, 0, 0, 3] = expected[0, 0, 2, 1] = expected[1, 0, 1, 0] = 1
    assert torch.equal(gate, expected)
    weight = torch.rand(2, 1, 3, 4)
    (gate * weight).sum().backward()
    assert torch.allclose(mask.grad, weight - weight.mean((1, 2, 3), keepdim=True), atol=1e-6)


def network(**options):
    return MGA(registered(), k=3, chunk=4, **options)


def test_training_sees_the_image_that_testing_gives():
    net = network()
    x = torch.rand(2, 3, 10, 13)
    output = net(x, with_parts=True)
    assert output.image.requires_grad
    with torch.no_grad():
        assert torch.allclose(net(x), output.image, atol=1e-6)
        assert torch.allclose(net.eval()(x), output.image, atol=1e-6)
        net.set_variant('A')
        assert torch.allclose(net(x), output.refined, atol=1e-6)


def test_base_and_refine_get_the_gradient_of_the_hard_selection():
    x = torch.rand(1, 3, 12, 12)
    gradients = []
    for training in (True, False):
        net = network()
        net.mask.train(training)
        net.mask.set_supervision('absolute')  # no gradient by way of the mask
        net(x).square().sum().backward()
        gradients.append({name: value.grad for name, value in net.named_parameters()
                          if not name.startswith('mask.')})
    for name, value in gradients[0].items():
        assert torch.allclose(value, gradients[1][name], rtol=1e-4, atol=1e-5), name


def test_each_mask_element_gets_what_its_patch_would_change():
    net = network(patch_size=4)
    x, target = torch.rand(1, 3, 8, 12), torch.rand(1, 3, 8 * SCALE, 12 * SCALE)
    output = net(x, with_parts=True)
    mask_gradient, = torch.autograd.grad((output.image - target).square().sum(), output.mask, retain_graph=True)
    slope = 2 * (output.image - target) * (output.refined - output.coarse)
    size = 4 * SCALE
    change = torch.stack([slope[..., i * size:(i + 1) * size, j * size:(j + 1) * size].sum()
                          for i in range(2) for j in range(3)]).view(1, 1, 2, 3)
    assert torch.allclose(mask_gradient, change - change.mean(), rtol=1e-4, atol=1e-5)
    # at an unchosen patch that is the derivative of the loss along the way to its refined pixels
    gate = torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    index = net.select(output.feature, output.mask)
    gate[0, 0, index.row, index.col] = 1
    other = int((gate.flatten() == 0).nonzero()[0])
    parts = [part.detach().double() for part in (output.coarse, output.refined)]
    losses = []
    for step in (-1e-4, 1e-4):
        moved = gate.clone()
        moved.view(-1)[other] += step
        losses.append((blend(*parts, moved, size) - target).square().sum())
    assert float(change.detach().flatten()[other]) == pytest.approx(float((losses[1] - losses[0]) / 2e-4), rel=1e-3)


@pytest.mark.parametrize('supervision', ['normalized', 'absolute'])
def test_a_supervised_mask_gets_no_gradient_from_the_image(supervision):
    net = network()
    net.mask.set_supervision(supervision)
    output = net(torch.rand(1, 3, 12, 12), with_parts=True)
    output.image.sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in net.mask.parameters())
    output.mask.sum().backward()
    assert net.mask.conv1.weight.grad is not None


def test_a_mask_learns_without_supervision_which_patches_to_take():
    torch.manual_seed(0)
    net = network()
    net.base.requires_grad_(False)
    net.refine.requires_grad_(False)
    x = torch.rand(4, 3, 24, 24)
    x[..., 8:16, 8:16] *= 8  # the only place where refining changes much
    with torch.no_grad():
        net.set_variant('A')
        target = net(x)
        net.set_variant('M')
        error = (target - net.base(x)).abs().mean(1, keepdim=True)
        gain = torch.nn.functional.avg_pool2d(error, 4 * SCALE)
        net.mask.conv2.weight.neg_()  # whichever it is that random weights prefer, this is the other end
        net.mask.conv2.bias.neg_()
    start = recall(net, x, gain)
    optimizer = torch.optim.Adam(net.mask.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        (net(x) - target).abs().mean().backward()
        optimizer.step()
    assert recall(net, x, gain) > max(start + 0.2, 0.75)


@torch.no_grad()
def recall(net, x, gain):
    index = net.select(net.base.extract(x))
    taken = gain[index.batch, 0, index.row, index.col].sum()
    return float(taken / gain.flatten(1).topk(3).values.sum())
