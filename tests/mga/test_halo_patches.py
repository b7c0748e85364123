import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr.mga.halo_patches import (
    PatchIndex,
    all_patches,
    gather_patches,
    grid_size,
    join_patches,
    pad_to_grid,
    replace_patches,
)

sizes = st.integers(1, 19)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), height=sizes, width=sizes, p=st.integers(1, 6), seed=st.integers(0, 99))
def test_gathered_patches_are_the_windows_of_the_padded_map(n, height, width, p, seed):
    torch.manual_seed(seed)
    feature = torch.randn(n, 3, height, width)
    rows, cols = grid_size(height, width, p)
    index = all_patches(n, rows, cols, feature.device)
    keep = torch.rand(len(index.batch)) < 0.5
    index = PatchIndex(*(t[keep] for t in index))
    patches = gather_patches(pad_to_grid(feature, p), index, p)
    whole = F.pad(feature, (1, 1 + cols * p - width, 1, 1 + rows * p - height))
    assert patches.shape == (len(index.batch), 3, p + 2, p + 2)
    for patch, b, i, j in zip(patches, *index, strict=True):
        assert torch.equal(patch, whole[b, :, i * p:i * p + p + 2, j * p:j * p + p + 2])


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), height=sizes, width=sizes, q=st.integers(1, 6), seed=st.integers(0, 99))
def test_replaced_patches_stand_where_they_belong_and_nothing_else_changes(n, height, width, q, seed):
    torch.manual_seed(seed)
    image = torch.randn(n, 3, height, width)
    before = image.clone()
    rows, cols = grid_size(height, width, q)
    index = all_patches(n, rows, cols, image.device)
    keep = torch.rand(len(index.batch)) < 0.5
    index = PatchIndex(*(t[keep] for t in index))
    patches = torch.randn(len(index.batch), 3, q, q)
    result = replace_patches(image, patches, index)
    expected = before.clone()
    for patch, b, i, j in zip(patches, *index, strict=True):
        inside = expected[b, :, i * q:i * q + q, j * q:j * q + q]
        inside.copy_(patch[:, :inside.shape[1], :inside.shape[2]])
    assert torch.equal(result, expected)
    assert torch.equal(image, before)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3), height=sizes, width=sizes, q=st.integers(1, 6))
def test_all_patches_of_an_image_make_it_up(n, height, width, q):
    index = all_patches(n, *grid_size(height, width, q), torch.device('cpu'))
    patches = torch.randn(len(index.batch), 3, q, q)
    joined = join_patches(patches, n, height, width)
    assert torch.equal(joined, replace_patches(torch.full((n, 3, height, width), torch.nan), patches, index))


def test_overlapping_patches_add_up_their_gradients():
    feature = torch.zeros(1, 1, 8, 8, requires_grad=True)
    index = all_patches(1, 2, 2, feature.device)
    gather_patches(pad_to_grid(feature, 4), index, 4).sum().backward()
    times = torch.ones(8)
    times[3:5] = 2
    assert torch.equal(feature.grad[0, 0], times[:, None] * times)
