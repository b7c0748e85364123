"""Declares the units of a graph for active patches, and what predicts of the others what active ones read."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from basicsr_amsr.execution.dense.passes import Pass
from basicsr_amsr.execution.dense.scatter import scatter
from basicsr_amsr.execution.dense.segments import Segment
from basicsr_amsr.execution.dense.unit_steps import Constants, Read
from basicsr_amsr.execution.dense.units import Half, Unit, units_of
from basicsr_amsr.execution.graph.ops import Conv, Mean, Slice
from basicsr_amsr.execution.graph.rules import Rules
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.native import steps as native
from basicsr_amsr.execution.native.check_program import TAPS
from basicsr_amsr.execution.native.maps import Map, Patches, channels_of
from basicsr_amsr.execution.native.maps import Slice as Channels
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.execution.skipping.averages import AveragesOfActive
from basicsr_amsr.execution.torch_sparse.prediction import Affine, Prediction, renumbered


class Predicted:
    """The prediction as it is when weights are packed.

    Args:
        prediction: the first one; `take` gives another one, built alike.
        rules: of the graph.

    Attributes:
        given: the prediction as it was given. now: by the values of the graph. tensors: all that it holds.
    """

    def __init__(self, prediction: Prediction, rules: Rules) -> None:
        self.rules = rules
        self._set(prediction)

    def take(self, prediction: Prediction) -> None:
        """Use this prediction from now on."""
        if prediction is not self.given:
            self._set(prediction)

    def _set(self, prediction: Prediction) -> None:
        affines = [*prediction.contexts.values(), *([prediction.tail.feature] if prediction.tail else [])]
        held = [tensor for each in affines for tensor in (each.weight, each.bias, each.narrow) if tensor is not None]
        self.now = renumbered(prediction, self.rules)
        self.given = prediction
        self.tensors = (*held, *((prediction.tail.image,) if prediction.tail else ()))

    def context(self, value: int, part: str, first: int = 0, end: int | None = None) -> Read:
        """A function that returns rows of a tensor of a value's prediction."""
        return lambda: getattr(self.now.contexts[value], part)[first:end]

    def tail(self, part: str) -> Read:
        """A function that returns a tensor of the light tail's 1x1 convolution."""
        return lambda: getattr(self.now.tail.feature, part)  # type: ignore[union-attr]


class CalibratedBuild(AveragesOfActive):
    """A graph's native segment as a program for listed patches.

    Args:
        rules: of the graph. segment: that holds all of its values that are known at active pixels alone.
        predicted: keyed by the graph's values.
        constants_of, precision: as in `Build`.

    Attributes:
        active, skipped, band: the lists that it has to be given.
        rest: share of the skipped pixels, (1, 1, 1); None where nothing reads it.

    Raises:
        Unreadable: something in it that cannot be predicted where it has to be.
    """

    apart = True

    def __init__(self, rules: Rules, segment: Segment, constants_of: Constants, predicted: Predicted,
                 precision: str) -> None:
        self.rules, self.predicted = rules, predicted
        self.rest: Map | None = None
        self._due: dict[int, list[int]] = {}
        self._scattered: dict[int, Unit] = {}
        self._narrow: dict[int, Channels] = {}
        self._sums: Map | None = None
        super().__init__(rules.graph, segment, constants_of, precision)
        if predicted.now.tail is not None:
            self._tail()

    # what is computed where

    def _lists(self) -> None:
        if self.rules.halo > PATCH:
            raise Unreadable(f'{self.graph.name} looks {self.rules.halo} pixels around, {PATCH} are possible')
        self.active, self.skipped, self.band = (self.program.patches() for _ in range(3))

    def where(self, value: int) -> Patches:
        listed = self.rules.form(value) == 'rows' or value in self.rules.resized_for_active
        return self.active if listed else super().where(value)

    def _patches(self, unit: Unit) -> Patches:
        head = self.graph.ops[unit.ops[0]]
        factor = head.stride[0] if isinstance(head, Conv) and head.transposed else unit.shuffle
        if self._geometry(unit.result)[1]['scale'] % factor:
            raise Unreadable(f'{self.graph.name}: {head.where} enlarges maps that are smaller than the image')
        return super()._patches(unit)

    def _units(self) -> list[Unit]:
        apart = {self.rules.anchor, *self.rules.contexts}
        outputs = set(self.segment.outputs)
        units = units_of(self.graph, list(self.segment.ops), outputs, self.fixed, apart)
        return scatter(self.graph, units, outputs, self._scale)

    def _last_passes(self, passes: list[Pass]) -> tuple[dict[int, int], set[int]]:
        last, local = super()._last_passes(passes)
        last[self.rules.anchor] = len(passes)
        self._scattered = {unit.source: unit for unit in self.units if unit.half == Half.PRODUCTS}
        self._due = self._find_due()
        return last, local - {self.rules.anchor}

    def _find_due(self) -> dict[int, list[int]]:
        """The values that are predicted after each pass, by its number."""
        due: dict[int, list[int]] = {}
        taken: dict[tuple[int, int], int] = {}  # a value and one of its channels: what is made of it
        for value, reach in self.rules.contexts.items():
            if not any(reach) and value not in self.rules.everywhere:
                continue
            if value in self._scattered:
                due.setdefault(self.pass_of[self._scattered[value].value], []).append(value)
                continue
            for channel in self._channels(value):
                if taken.setdefault(channel, value) != value:
                    raise Unreadable(f'{self.graph.name}: values {value} and {taken[channel]} share channels, and both '
                                     'are predicted')
            due.setdefault(max(self.pass_of[base] for base in self.bases(value)), []).append(value)
        return due

    def _channels(self, value: int) -> list[tuple[int, int]]:
        """For each channel of a value which one of which value it is, where that is put together from others."""
        op = self.graph.ops[value - 1] if value else None
        if self.bases(value) == {value} or op is None:
            return [(value, channel) for channel in range(self.rules.channels(value))]
        whole = [channel for each in op.inputs for channel in self._channels(each)]
        first = op.start if isinstance(op, Slice) else 0
        assert isinstance(first, int)
        return whole[first:first + self.rules.channels(value)]

    # predictions

    def _behind(self, number: int) -> None:
        for patches in (self.band, self.skipped):
            values = [value for value in self._due.get(number, ())
                      if (value in self.rules.everywhere) == (patches is self.skipped)]
            if values and patches is self.skipped:
                self._narrow_all()
            if values:
                with self.program.fused(patches):
                    for value in values:
                        if value in self._scattered:
                            self._predict_products(value, self._scattered[value])
                        else:
                            self._predict(value, 0 if patches is self.skipped else max(self.rules.contexts[value]))

    def _features(self, value: int, reach: int) -> dict[str, Any]:
        """What a value is predicted from, as arguments of `Program.predict`."""
        affine, scale = self.predicted.now.contexts[value], self.rules.scale(value)
        source, compute = self._anchor()
        if value in self._narrow:
            source = self._narrow[value]
        elif affine.narrow is not None:
            narrow = self.program.local(len(affine.narrow), dtype=compute, name=f'for value {value}')
            self.program.predict(source, self.predicted.context(value, 'narrow'), None, narrow,
                                 out_channels=narrow.channels, reach=-(-reach // scale), rectified=True,
                                 compute=compute)
            source = channels_of(narrow)
        return {'source': source, 'shuffle': scale, 'reach': reach, 'rectified': affine.narrow is None,
                'compute': compute}

    def _narrow_all(self) -> None:
        """The low-rank features of all that is predicted at every skipped pixel, from one look at the anchor."""
        values = [value for value in sorted(self.rules.everywhere & set(self.rules.contexts))
                  if self.predicted.now.contexts[value].narrow is not None]
        if self._narrow or len(values) < 2:
            return
        source, compute = self._anchor()
        ranks = [len(self.predicted.now.contexts[value].narrow) for value in values]  # type: ignore[arg-type]
        whole = self.program.map(sum(ranks), dtype=compute, name='low ranks')
        first = 0
        for value, rank in zip(values, ranks, strict=True):
            self._narrow[value] = whole[first:first + rank]
            first += rank
        reads = [self.predicted.context(value, 'narrow') for value in values]
        self.program.predict(source, lambda: torch.cat([read() for read in reads]), None, whole, rectified=True,
                             out_channels=whole.channels, compute=compute, patches=self.skipped)

    def _predict(self, value: int, reach: int) -> None:
        features, scale, first = self._features(value, reach), self.rules.scale(value), 0
        for place in self.place(value):
            end = first + place.channels * scale ** 2
            self.program.predict(weight=self.predicted.context(value, 'weight', first, end),
                                 bias=self.predicted.context(value, 'bias', first, end), out=place,
                                 out_channels=end - first, **features)
            first = end

    def _predict_products(self, value: int, unit: Unit) -> None:
        """Predict the products of a convolution, tap by tap, where what it reads is no map to predict into."""
        op = self.graph.ops[unit.ops[0]]
        assert isinstance(op, Conv)
        weight, area = self.constants.weight(op.weight), self.rules.scale(value) ** 2
        outputs = self.graph.weights[op.weight].shape[0]

        def of(part: str) -> Read:
            def read() -> torch.Tensor:
                taps = weight().detach().double().permute(2, 3, 0, 1).flatten(0, 2)
                held = getattr(self.predicted.now.contexts[value], part).detach().double()
                return torch.einsum('jc,cpk->jpk', taps, held.view(taps.shape[1], area, -1)).reshape(
                    -1, *held.shape[1:])
            return read

        features = self._features(value, max(self.rules.contexts[value]))
        products = self.program.local(TAPS * outputs, scale=self.rules.scale(value), name=f'products of value {value}')
        self.program.predict(weight=of('weight'), bias=of('bias'), out=products,
                             out_channels=products.channels * area, **features)
        self.program.collect(products, self.blocks[unit.value])

    def _anchor(self) -> tuple[Channels, str]:
        place = self.single(self.rules.anchor)
        return place, 'bfloat16' if place.map.bytes_each == 2 else 'float32'

    def _copy(self, value: int, parts: list[Channels], whole: Map) -> None:
        if self.rules.form(value) != 'rows' or self.program.is_open:
            if any(base in self.rules.contexts for base in self.bases(value)) and self.rules.form(value) == 'rows':
                raise Unreadable(f'{self.graph.name}: value {value} is copied where its neighbours are not there yet')
            return super()._copy(value, parts, whole)
        around = self.skipped if self.rules.everywhere.intersection((value, *self.bases(value))) else self.band
        for patches in (self.active, around):
            with self.program.fused(patches):
                super()._copy(value, parts, whole)

    # averages over the image

    def _is_of_active(self, unit: Unit, mean: Mean) -> bool:
        return self.rules.form(unit.source) == 'rows'

    def _complete(self, unit: Unit, computed: Map, out: Map) -> None:
        sums = self._rest_sums(out)
        self.program.conv(sums, self._average(unit.source), None, out, kernel=1, out_channels=out.channels,
                          steps=[native.add(computed)])

    def _average(self, value: int) -> Read:
        """A function that returns the weights by which skipped pixels enter an average, given `_rest_sums`."""
        scale = self.rules.scale(value)

        def read() -> torch.Tensor:
            affine: Affine = self.predicted.now.contexts[value]
            weight = affine.weight.float()
            if affine.narrow is not None:
                weight = weight @ affine.narrow.float()
            whole = torch.cat([weight, affine.bias.float()[:, None]], 1)
            return whole.view(-1, scale ** 2, whole.shape[1]).mean(1)[:, :, None, None]

        return read

    def _rest_sums(self, like: Map) -> Map:
        """One pixel: the sum of the features of skipped pixels, and their number, both over that of all pixels."""
        if self._sums is None:
            anchor, dtype = self._anchor()
            channels = anchor.channels
            self._sums = self.program.map(2 * channels + 1, grid=like.grid, name='sums over skipped pixels')
            self.rest = self.program.image(1, grid=like.grid, name='share of skipped pixels')
            self.program.pointwise(self.rest, self._sums[2 * channels:])
            with self.program.fused(self.skipped):
                positive = self.program.local(channels, dtype=dtype, name='rectified')
                self.program.pointwise(anchor, positive, steps=[native.relu()])
                self.program.mean(anchor, self._sums[:channels])
                self.program.mean(positive, self._sums[channels:2 * channels])
        return self._sums

    # the image at skipped pixels

    def _tail(self) -> None:
        tail = self.predicted.now.tail
        assert tail is not None
        image, border = self.images[self.rules.output], tail.border
        channels = tail.image.shape[1]
        grid = self.program.grid(lambda h, w: (h + 2 * border, w + 2 * border)) if border else self.program.image_grid
        around = self.program.map(channels, grid=grid, name='the image with its border repeated')
        self.program.pointwise(self.size, around, border=border)
        anchor, compute = self._anchor()
        number = len(tail.image)
        with self.program.fused(self.skipped):
            seen = self.program.local(number, name='what the tail sees of the image')
            self.program.conv(around, lambda: self.predicted.now.tail.image,  # type: ignore[union-attr]
                              self.predicted.tail('bias'), seen, kernel=2 * border + 1, padding=0,
                              out_channels=number)
            self._pixels(anchor, tail.feature, compute, image, tail.scale, [native.add(seen)])

    def _pixels(self, source: Channels, affine: Affine, compute: str, out: Map, scale: int,
                steps: Sequence[native.Step]) -> None:
        """The tail's 1x1 convolution."""
        if affine.narrow is not None:
            narrow = self.program.local(len(affine.narrow), dtype=compute)
            self.program.conv(source, _kernel(self.predicted.tail('narrow')), None, narrow, kernel=1,
                              out_channels=narrow.channels, compute=compute)
            source = channels_of(narrow)
        self.program.conv(source, _kernel(self.predicted.tail('weight')), None, out, kernel=1,
                          out_channels=len(affine.weight), shuffle=scale, steps=steps, compute=compute)


def _kernel(read: Read) -> Read:
    return lambda: read()[:, :, None, None]
