"""Units in turn write into two buffers, and never into one that somebody else still has."""
import pytest
import torch

from basicsr_amsr.execution.buffers import Turns


def chain(turns, x, keep=(), spoil=()):
    """Six units that write 1, 2, … into the first pixel; which memory each writes into, and all outputs of `keep`."""
    kept, memory = {}, []
    for number in range(6):
        out = turns.free(x, 'where')
        fresh = out is None
        out = x.clone() if fresh else out
        out[..., 0] = number + 1
        assert torch.equal(out[..., 1:], x[..., 1:]) and out.data_ptr() != x.data_ptr()
        memory.append('new' if fresh else out.data_ptr())
        turns.done(out, 'where')
        if number in keep:
            kept[number] = out[..., :2]  # a view
        if number in spoil:
            x.add_(1)  # what was read, after it was read
        x = out
        del out
    return memory, kept


def test_two_buffers_are_enough():
    with torch.no_grad():
        memory, _ = chain(Turns(), torch.zeros(1, 2, 1, 4))
    assert memory[:2] == ['new', 'new'] and 'new' not in memory[2:]
    assert memory[2] == memory[4] != memory[3] == memory[5]


def test_what_somebody_keeps_stays_as_it_is():
    with torch.no_grad():
        memory, kept = chain(Turns(), torch.zeros(1, 2, 1, 4), keep=(0, 3))
    assert memory[2] == 'new' and all(bool((view[..., 0] == number + 1).all()) for number, view in kept.items())


def test_what_was_changed_is_not_used():
    with torch.no_grad():
        memory, _ = chain(Turns(), torch.zeros(1, 2, 1, 4), spoil=(1,))
    assert memory[2] == 'new'


def test_an_input_that_is_no_output_or_was_changed_ends_the_chain():
    turns, x = Turns(), torch.zeros(1, 2, 1, 4)
    with torch.no_grad():
        outs = [x.clone() for _ in range(3)]
        for out in outs:
            turns.done(out, 'where')
        assert turns.free(outs[2], 'elsewhere') is None
        last = outs[2]
        del outs, out
        assert turns.free(last, 'where') is not None
        assert turns.free(last[..., :3], 'where') is None  # not the output itself
        turns.done(last, 'where')
        assert turns.free(last, 'where') is None  # nothing came before it
        last.add_(1)
        assert turns.free(last, 'where') is None


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_networks_keep_what_hooks_keep(mode):
    """Outputs of all units, kept by hooks, are those of a network whose units share no memory."""
    from basicsr_amsr.amsr import AMSRConfig, accelerate_
    from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
    from tests.backbones.tiny import image, network

    net, x = network('EDSR', 2, num_block=5), image(2, 3, 13, 18)
    accelerate_(net, AMSRConfig(HighFrequencyMask(ratio=0.5, tile=4), mode='sparse'))
    with mode():
        expected = net(x)
        seen, addresses = [], []
        handles = [block.register_forward_hook(lambda m, args, out: addresses.append(out.data_ptr()))
                   for block in net.body]
        net(x)
        for handle in handles:
            handle.remove()
        for block in net.body:
            block.register_forward_hook(lambda m, args, out: seen.append((out, out.clone())))
        assert torch.equal(net(x), expected)
    assert all(torch.equal(out, copy) for out, copy in seen)
    if mode is torch.no_grad:
        assert addresses[2] == addresses[0] and addresses[3] == addresses[1] and addresses[4] == addresses[0]
