"""What runs a network: from nothing loaded to a function from image to picture."""
from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from basicsr_amsr.bench.contenders import COMPILED, NATIVE, ONNXRUNTIME, OPENVINO
from basicsr_amsr.bench.job import Job
from basicsr_amsr.bench.views import LAYOUTS
from basicsr_amsr.execution.graph import on_disk
from basicsr_amsr.execution.openvino import Session, openvino_graph, write_onnx
from basicsr_amsr.execution.precision import computing_in
from basicsr_amsr.memory_layout import lay_out

Picture = Callable[[Any], Any]  # float32 (1, C, H, W), as `prepared` makes it, to float32 of the same kind


def prepared(job: Job, image: np.ndarray) -> Any:
    """An image where a backend takes it from: an array, or a tensor on the device."""
    return image if job.backend in (OPENVINO, ONNXRUNTIME) else torch.from_numpy(image).to(job.device)


def import_packages(job: Job) -> dict[str, str]:
    """Import what the backend needs; returns its version."""
    if job.backend in (OPENVINO, ONNXRUNTIME):
        return {job.backend: importlib.import_module(job.backend).__version__}
    if job.backend == COMPILED:
        importlib.import_module('torch._inductor.compile_fx')
    elif job.backend == NATIVE:  # PyTorch imports its tracer with the first trace
        os.environ[on_disk.VARIABLE] = 'off'  # the first picture is that of a network that nobody has traced before
        torch.export.export(nn.Identity(), (torch.zeros(1),))
    return {'torch': torch.__version__}


def load(job: Job) -> Picture:
    """Read and prepare what runs."""
    if job.backend == OPENVINO:
        return Session(job.graph, job.dtype, job.threads)
    if job.backend == ONNXRUNTIME:
        return onnx_session(job)
    return torch_network(job)


def torch_network(job: Job) -> Picture:
    """What PyTorch runs of a job.

    Image and picture are float32, as in `basicsr test`; what converts them is part of the pass.
    """
    net = network(job)
    if job.backend == COMPILED:
        if job.caches is not None:
            os.environ['TORCHINDUCTOR_CACHE_DIR'] = job.caches
        # Weights as constants: oneDNN's own layouts for them, and activations fused into convolutions.
        net = torch.compile(net, dynamic=False, options={'freezing': True})  # type: ignore[assignment]
    layout = LAYOUTS[job.view.layout]

    def picture(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), computing_in(job.dtype, job.device):
            return net(x.contiguous(memory_format=layout)).float()

    return picture


def network(job: Job) -> nn.Module:
    """The network of a job in its form, on its device."""
    job.network.load_plugins()
    net = lay_out(job.network.build().net.to(job.device), LAYOUTS[job.view.layout])
    return job.view.of(net)


def export(job: Job) -> None:
    """Write the graph of the network in fp32 for the size of the first image, OpenVINO's own or ONNX."""
    net = network(job)
    x = torch.from_numpy(np.load(job.images[0]))
    with torch.no_grad():
        net(x)  # what a network keeps of its first call becomes a constant
        if job.backend == OPENVINO:
            import openvino

            openvino.save_model(openvino_graph(net, x), str(job.graph), compress_to_fp16=False)
        else:
            write_onnx(net, x, str(job.graph))


def onnx_session(job: Job) -> Picture:
    """What ONNX Runtime runs of a file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    if job.threads is not None:
        options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(str(job.graph), options, providers=['CPUExecutionProvider'])
    return lambda x: session.run(None, {'image': x})[0]
