"""Records every image's figures while a BasicSR model validates, without changing the model."""
from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import mean
from typing import Any

from basicsr_amsr.cli.replace import replaced
from basicsr_amsr.profiling.active_share import last_keep
from basicsr_amsr.registry import METRIC_REGISTRY
from basicsr_amsr.training.watched import IMAGE, distinct_name

METRIC_FUNCTION = 'calculate_metric'


class MetricRecorder:
    """Figures of the test sets: `results[dataset][metric] = {mean, images: {name: value}, computed: {...}}`.

    BasicSR adds the figures of the images up and forgets them. `watch` listens instead: to the model's `feed_data` for
    the image's name, to `calculate_metric` where the model's classes call it, and to the model's own mean. What share
    of an image a network with a mask computed is a figure too, `keep`.

    Args:
        on_dataset: called with `results` when a data set is finished.
    """

    def __init__(self, on_dataset: Callable[[dict[str, Any]], None]) -> None:
        self.results: dict[str, Any] = {}
        self._on_dataset = on_dataset
        self._metrics: dict[str, Any] = {}
        self._dataset: Any = None
        self._image = ''
        self._keeps: dict[str, float] = {}
        self._names: set[str] = set()

    @contextmanager
    def watch(self, model: Any) -> Iterator[None]:
        """Listen to `model` until the block ends."""
        self._metrics = model.opt['val'].get('metrics') or {}
        feed, validate, update = model.feed_data, model.validation, model._update_best_metric_result

        def feed_data(data: Mapping[str, Any]) -> None:
            image = IMAGE.get()
            self._image = image.name if image else distinct_name(data, self._names)
            feed(data)

        def validation(dataloader: Any, *args: Any, **kwargs: Any) -> None:
            self._dataset = dataloader.dataset
            self._names.clear()
            self._keeps.clear()
            validate(dataloader, *args, **kwargs)
            if self._keeps:
                self._entry('keep').update(
                    mean=mean(self._keeps.values()), images=dict(self._keeps),
                    computed={'metric_type': 'keep', 'lr_source': lr_source(self._dataset)})
            self._on_dataset(self.results)

        def keep_mean(dataset: str, metric: str, value: float, iteration: Any) -> None:
            self._entry(metric)['mean'] = float(value)
            update(dataset, metric, value, iteration)

        modules = dict.fromkeys(sys.modules[cls.__module__] for cls in type(model).__mro__)
        with ExitStack() as stack:
            stack.enter_context(self._keeps_of(model))
            stack.enter_context(replaced(model, {'feed_data': feed_data, 'validation': validation,
                                                 '_update_best_metric_result': keep_mean}))
            for module in modules:
                if METRIC_FUNCTION in vars(module):
                    listening = self._listening(vars(module)[METRIC_FUNCTION])
                    stack.enter_context(replaced(module, {METRIC_FUNCTION: listening}))
            yield

    def _listening(self, calculate: Callable[..., float]) -> Callable[..., float]:
        def calculate_metric(data: dict[str, Any], opt: Mapping[str, Any]) -> float:
            value = calculate(data, opt)
            metric = next((name for name, option in self._metrics.items() if option is opt), opt['type'])
            entry = self._entry(metric)
            entry['images'][self._image] = float(value)
            entry['computed'] = computed(data, opt, self._dataset)
            return value

        return calculate_metric

    @contextmanager
    def _keeps_of(self, model: Any) -> Iterator[None]:
        """Note what share of each image the network computes, if it computes a share."""
        net: Any = model.get_bare_model(model.net_g) if hasattr(model, 'net_g') else None
        if not hasattr(net, 'last_keep') or not hasattr(model, 'test'):
            yield
            return
        test = model.test

        def note() -> None:
            test()
            self._keeps[self._image] = last_keep(net)

        with replaced(model, {'test': note}):
            yield

    def _entry(self, metric: str) -> dict[str, Any]:
        dataset = self.results.setdefault(self._dataset.opt['name'], {})
        return dataset.setdefault(metric, {'mean': math.nan, 'images': {}, 'computed': {}})


def computed(data: Mapping[str, Any], opt: Mapping[str, Any], dataset: Any) -> dict[str, Any]:
    """How a figure was computed: metric function, channel, border, value range, where the LR images came from."""
    options = {**_defaults(METRIC_REGISTRY.get(opt['type'])), **opt}
    return {
        'metric_type': opt['type'],
        'channel': _channel(options, data['img'], dataset),
        'crop_border': options.get('crop_border'),
        'value_range': '0-255, 8 bit' if data['img'].dtype == 'uint8' else str(data['img'].dtype),
        'lr_source': lr_source(dataset),
    }


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _channel(options: Mapping[str, Any], image: Any, dataset: Any) -> str:
    if image.ndim == 2 or image.shape[-1] == 1:
        return 'Y' if dataset.opt.get('color') == 'y' else 'gray'
    if options.get('test_y_channel') or options.get('convert_to') == 'y':
        return 'Y'
    return 'gray' if options.get('convert_to') == 'gray' else 'RGB'


def lr_source(dataset: Any) -> str:
    """Where the LR images came from: what the data set says (`lr_source`), else the folder they were read from."""
    said = getattr(dataset, 'lr_source', None)
    folder = dataset.opt.get('dataroot_lq')
    return said or (f'images given in {folder}' if folder else f'made by {type(dataset).__name__}')
