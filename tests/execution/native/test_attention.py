"""Attention within windows, beside torch's."""
import pytest
import torch

from basicsr_amsr.execution.native.attention import AttentionLists, attention
from basicsr_amsr.execution.tokens.cells import Kind


def kind(windows: int, active: int, whole: int, cells: int, area: int, packed: int, regions: bool) -> Kind:
    """Windows with cells at random; keys are rows of [packed rows, a row of zeros, 9 further rows]."""
    order = torch.rand(windows, cells).argsort(1)
    token, merged = order[:, :whole], order[:, whole:]
    query = token[:, :active]
    rows = torch.randint(packed // area, (windows, active)) * area
    key_rows = torch.randint(packed + 10, (windows, whole * area + cells - whole))
    own, other = (torch.randint(2, shape) if regions else None for shape in ((windows, active), (windows, cells)))
    if regions:
        other[:, 0] = own[:, 0]  # each query finds a key
    return Kind(query, token, merged, (rows[..., None] + torch.arange(area)).flatten(1), key_rows, own, other)


@pytest.mark.parametrize(('heads', 'channels', 'cells', 'area', 'regions'),
                         [(3, 10, 16, 16, False), (2, 7, 4, 16, True), (1, 8, 9, 4, True), (4, 1, 1, 16, False),
                          (2, 3, 2, 1, False)])
def test_is_that_of_torch(native, isa, heads, channels, cells, area, regions):
    torch.manual_seed(0)
    packed = 8 * area
    kinds = [kind(3, 1, 1, cells, area, packed, regions)]
    if cells > 2:
        kinds += [kind(2, 2, 3, cells, area, packed, regions),
                  kind(1, min(cells, 8), cells, cells, area, packed, regions)]
    query = torch.randn(packed, heads * channels + 3)[:, :heads * channels]
    store = torch.randn(packed + 10, 2 * heads * channels)
    key, value = store.chunk(2, 1)
    near, far = 3 * torch.randn(heads, cells, area, cells, area), 3 * torch.randn(heads, cells, area, cells)
    for each in kinds:
        for number in range(len(each.query)):
            one = Kind(*(None if part is None else part[number:number + 1] for part in each))
            rows = torch.randperm(packed // area)[:each.query.shape[1]] * area  # none of them twice
            one = one._replace(query_rows=(rows[:, None] + torch.arange(area)).flatten()[None])
            found = attention(native, AttentionLists([one], area, cells), query, key, value, near, far, heads, 0.3)
            wanted = attended(one, 0, query, key, value, near, far, heads)
            assert torch.allclose(found[one.query_rows[0]], wanted, atol=2e-5, rtol=1e-5)
            half = attention(native, AttentionLists([one], area, cells), query, key, value, near, far, heads, 0.3, True)
            with torch.autocast('cpu', torch.bfloat16):
                autocast = attended(one, 0, query, key, value, near, far, heads)
            error = (half[one.query_rows[0]] - wanted).norm()
            assert error <= (autocast - wanted).norm() + 1e-5 * wanted.norm()


def attended(kind: Kind, number: int, query, key, value, near, far, heads: int) -> torch.Tensor:
    """What the queries of a window get."""
    own, keys = kind.query_rows[number], kind.key_rows[number]
    scores = 0.3 * torch.einsum('qhc,khc->hqk', query[own].view(len(own), heads, -1), key[keys].view(
        len(keys), heads, -1))
    area, token, merged, of = near.shape[2], kind.token[number], kind.merged[number], kind.query[number]
    bias = torch.cat([near[:, of][:, :, :, token].flatten(3).flatten(1, 2), far[:, of][..., merged].flatten(1, 2)], 2)
    scores = scores + bias
    if kind.query_regions is not None:
        region = torch.cat([kind.key_regions[number][:len(token)].repeat_interleave(area),
                            kind.key_regions[number][len(token):]])
        scores = scores - 100.0 * (kind.query_regions[number].repeat_interleave(area)[:, None] != region)
    weights = scores.softmax(2)
    return torch.einsum('hqk,khc->qhc', weights, value[keys].view(len(keys), heads, -1)).flatten(1)


def test_no_window(native):
    lists = AttentionLists([], 16, 4)
    store = torch.randn(17, 8)
    attention(native, lists, store[:16], store, store, torch.zeros(2, 4, 16, 4, 16), torch.zeros(2, 4, 16, 4), 2, 1.0)


def test_many_windows_on_all_threads(native):
    torch.manual_seed(1)
    area, cells, packed = 16, 4, 16 * 40
    each = kind(40, 1, 2, cells, area, packed, False)
    each = each._replace(query_rows=torch.arange(packed).view(40, 16))
    query, store = torch.randn(packed, 8), torch.randn(packed + 10, 8)
    near, far = torch.randn(2, cells, area, cells, area), torch.randn(2, cells, area, cells)
    found = attention(native, AttentionLists([each], area, cells), query, store, store, near, far, 2, 0.3)
    for number in range(40):
        wanted = attended(each, number, query, store, store, near, far, 2)
        assert torch.allclose(found[each.query_rows[number]], wanted, atol=2e-5, rtol=1e-5)
