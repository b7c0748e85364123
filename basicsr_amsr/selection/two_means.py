"""2-means on one variable, solved exactly.

On a line the best two clusters are what lies under and over a threshold, so trying every threshold finds the optimum
that Lloyd's algorithm (scikit-learn's KMeans) may miss. With k of n values under the threshold, S their sum and T the
sum of all, the scatter between the clusters is n·D² / (k·(n − k)), D = S − k·T/n; the optimum is where it is largest.

Sorting all values costs more than the rest of a selection. Instead, values are counted and summed in bins. Between
two neighbouring bin edges the points (k, S) of all thresholds lie in a triangle: S is a convex function of k whose
slopes are values of the bin. The scatter is a convex function of (k, S), so its value at the triangle's third corner
bounds it, and only bins whose bound reaches the best edge are sorted.

Values become integers of up to 30 bits whose sums float64 holds exactly, so the result depends neither on the order of
summation nor on the device.
"""
from __future__ import annotations

import math
from typing import NamedTuple

import torch

from basicsr_amsr.host import runs_ahead

SUM_BITS = 53  # integers up to 2^53 are exact in float64
MAX_BITS = 30  # an int32 holds every key
BIN_BITS = 10  # bins per row: few values are left to sort, and the tables stay in the first-level cache
SLACK = 1e-9  # relative; far above the rounding of a bound, so that no optimum is lost to it


class TwoMeans(NamedTuple):
    """The upper cluster of each row, bool (B, n), and the threshold, float64 (B,): `high` is `values >= threshold`."""

    high: torch.Tensor
    threshold: torch.Tensor


def two_means(values: torch.Tensor) -> TwoMeans:
    """The optimal two clusters of each row.

    The optimum is that of the values rounded down to 2^-30 of a row's range (2^-29 and coarser for more than 2^23
    values). Among equally good thresholds the lowest is taken; equal values are never parted. A row of one value only,
    or with values that are not finite, has an empty upper cluster and the threshold infinity.

    Args:
        values: (B, n), floating point, any range; half types are read as float32.

    Returns:
        The upper clusters and the thresholds.
    """
    rows, length = values.shape
    if length == 0:
        return TwoMeans(torch.zeros_like(values, dtype=torch.bool), values.new_full((rows,), math.inf).double())
    keys, low, step, bits = _integers(values)
    cut = _best_cut(keys, bits, max(bits - BIN_BITS, 0))
    threshold = torch.where(cut < 0, math.inf, low + cut * step)
    return TwoMeans((keys >= cut[:, None]) & (cut >= 0)[:, None], threshold)


def _integers(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Rows as int32 in 0 … 2^bits − 1, with the value of 0 and of one step (float64), and the bits."""
    bits = min(MAX_BITS, SUM_BITS - max(values.shape[1] - 1, 1).bit_length())
    low, high = (edge.double() for edge in torch.aminmax(values, dim=1))
    extent = high - low
    varied = torch.isfinite(extent) & (extent > 0)
    # A power of two: values of a coarse grid, such as those of 8-bit images, stay exact.
    exponent = torch.frexp(torch.where(varied, extent, 1.0)).exponent
    step = torch.ldexp(torch.ones_like(low), exponent - bits)
    scaled = (values.double() - torch.where(varied, low, 0.0)[:, None]) / step[:, None]
    return torch.where(varied[:, None], scaled, 0.0).to(torch.int32), low, step, bits


def _best_cut(keys: torch.Tensor, bits: int, shift: int) -> torch.Tensor:
    """Smallest key of the upper cluster, int64 (rows,); −1 where a row has one key only."""
    rows, length = keys.shape
    width, bins = 1 << shift, 1 << (bits - shift)
    row = torch.arange(rows, device=keys.device, dtype=torch.int32)[:, None]
    bin_of = ((keys >> shift) + row * bins).flatten()
    count = _sums(bin_of, torch.ones_like(keys), rows, bins)
    total = _sums(bin_of, keys, rows, bins)
    under, below = count.cumsum(1), total.cumsum(1)  # at the upper edge of each bin
    whole = below[:, -1:]

    best = _scatter(under, below, length, whole).max(dim=1, keepdim=True)
    lowest = torch.arange(bins, device=keys.device) * width
    corner = (count * (lowest + width - 1) - total) / max(width - 1, 1)  # that many values are the bin's lowest key
    bound = _scatter(under - count + corner, below - total + lowest * corner, length, whole)
    candidate = (bound >= best.values * (1 - SLACK)) & (count > 0)
    candidate.scatter_(1, best.indices, True)

    candidate, kept = _to_sort(candidate, bin_of)
    ordered = (keys.flatten()[kept] + (kept // length << bits)).sort().values
    of_bin, of_row, key = ordered >> shift, ordered >> bits, ordered & ((1 << bits) - 1)
    # Over the kept values run sums of their own; the tables add what lies in the bins that are not kept.
    left_out = (under - (count * candidate).flatten().cumsum(0).view(rows, bins)).flatten()
    left_out_sum = (below - (total * candidate).flatten().cumsum(0).view(rows, bins)).flatten()
    k = torch.arange(1, len(ordered) + 1, device=keys.device) + left_out[of_bin]
    gain = _scatter(k, key.cumsum(0) + left_out_sum[of_bin], length, whole[of_row, 0])
    last_of_key = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)])
    gain = torch.where(last_of_key, gain, 0.0)
    highest = gain.new_zeros(rows).scatter_reduce(0, of_row, gain, 'amax')
    winner = torch.where((gain == highest[of_row]) & (gain > 0), key, 1 << MAX_BITS)
    lower = key.new_full((rows,), 1 << MAX_BITS).scatter_reduce(0, of_row, winner, 'amin')
    return torch.where(highest > 0, lower + 1, -1)


def _sums(bin_of: torch.Tensor, keys: torch.Tensor, rows: int, bins: int) -> torch.Tensor:
    """The sum of the keys in each bin, int64 (rows, bins)."""
    if not runs_ahead(bin_of.device):
        return torch.bincount(bin_of, keys.flatten(), minlength=rows * bins).view(rows, bins).long()
    # bincount would wait to learn the largest number of a bin.
    sums = bin_of.new_zeros(rows * bins, dtype=torch.int64)
    return sums.index_add_(0, bin_of, keys.flatten().long()).view(rows, bins)


def _to_sort(candidate: torch.Tensor, bin_of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bins whose values are sorted, bool (rows, bins), and the flat positions of these values: the candidates; on a
    GPU all, as it would wait to learn how many the candidates have."""
    if not runs_ahead(bin_of.device):
        return candidate, candidate.flatten()[bin_of].nonzero()[:, 0]
    return torch.ones_like(candidate), torch.arange(len(bin_of), device=bin_of.device)


def _scatter(k: torch.Tensor, s: torch.Tensor, n: int, whole: torch.Tensor) -> torch.Tensor:
    """n·D² / (k·(n − k)) in float64; 0 where one side is empty."""
    k, s = k.double(), s.double()
    parts = k * (n - k)
    return torch.where(parts > 0, n * (s - k * (whole.double() / n)).square() / parts, 0.0)
