"""OpenVINO on a CPU: a network as a graph for images of one size, compiled for latency."""
from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from basicsr_amsr.execution.small_example import small_example

PRECISIONS = {torch.float32: 'f32', torch.bfloat16: 'bf16', torch.float16: 'f16'}  # of what a session computes in


def openvino_version() -> str | None:
    """The version of OpenVINO that is installed; None where there is none."""
    try:
        return version('openvino')
    except PackageNotFoundError:
        return None


def openvino_graph(net: nn.Module, x: torch.Tensor, shape: tuple[int, ...] | None = None) -> Any:
    """The graph of a network in fp32 for images of the size of x, or of a shape whose free sides are -1.

    As OpenVINO converts it from PyTorch, which it runs faster than the same graph by way of ONNX; where it cannot, by
    way of ONNX.

    Raises:
        Exception: whatever the converters raise where they do not know an operator.
    """
    import openvino

    with unreported(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore', torch.jit.TracerWarning)  # the graph is for this size alone
        try:
            example = small_example(net, x)
            return openvino.convert_model(net, example_input=example, input=[shape or tuple(x.shape)])
        except openvino.frontend.OpConversionFailure:
            with tempfile.TemporaryDirectory() as folder:
                write_onnx(net, x, f'{folder}/graph.onnx')
                return openvino.convert_model(f'{folder}/graph.onnx')


def write_onnx(net: nn.Module, x: torch.Tensor, file: str) -> None:
    """The network as an ONNX graph for images of the size of x."""
    torch.onnx.export(net, (x,), file, input_names=['image'], output_names=['picture'], dynamo=True,
                      external_data=False, verbose=False)


@contextmanager
def unreported() -> Iterator[None]:
    """Inside, OpenVINO's converter tells its makers nothing, as in a job of continuous integration."""
    before = os.environ.get('CI')
    os.environ['CI'] = 'true'
    try:
        yield
    finally:
        if before is None:
            del os.environ['CI']
        else:
            os.environ['CI'] = before


class Session:
    """A graph that is compiled and ready to run.

    Args:
        graph: of `openvino_graph`, or the file of one.
        dtype: what it computes in, see PRECISIONS.
        threads: None: as many as OpenVINO takes.
    """

    def __init__(self, graph: Any, dtype: torch.dtype, threads: int | None) -> None:
        import openvino

        settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': 1,
                                    'INFERENCE_PRECISION_HINT': PRECISIONS[dtype]}
        if threads is not None:
            settings['INFERENCE_NUM_THREADS'] = threads
        graph = str(graph) if isinstance(graph, (str, Path)) else graph
        self._request = openvino.Core().compile_model(graph, 'CPU', settings).create_infer_request()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """float32 (1, C, H, W) to the same kind, in memory that the next call writes over."""
        return self._request.infer({0: image}, share_inputs=True, share_outputs=True)[0]
