"""Building the model that options name, with what BasicSR's models lack."""
from __future__ import annotations

import copy
import functools
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from basicsr.models.swinir_model import SwinIRModel
from basicsr.utils import get_root_logger

from basicsr_amsr.models.realesrgan import RealESRGANAnywhere, RealESRNetAnywhere
from basicsr_amsr.models.swinir_any_network import SwinIRAnyNetwork
from basicsr_amsr.registry import MODEL_REGISTRY
from basicsr_amsr.training.trained_model import TrainedModel

# The class that mends one of BasicSR's; the first whose left side a model is or inherits from is taken.
MENDED: dict[type, type] = {RealESRGANModel: RealESRGANAnywhere, RealESRNetModel: RealESRNetAnywhere,
                            SwinIRModel: SwinIRAnyNetwork, BaseModel: TrainedModel}


def build_model(opt: dict[str, Any]) -> Any:
    """BasicSR's `build_model`, of the mended class.

    Args:
        opt: BasicSR's options; `model_type` names a class of the model registry. They are copied.
    """
    opt = copy.deepcopy(opt)
    model = mended(MODEL_REGISTRY.get(opt['model_type']))(opt)
    get_root_logger().info(f'Model [{type(model).__name__}] is created.')
    return model


@functools.cache
def mended(cls: Any) -> Any:
    """The class itself where it is mended already or is no model of BasicSR's; else one of its name, of which the
    mended methods come behind its own and before those of BasicSR that they stand for."""
    theirs = next((theirs for theirs in MENDED if issubclass(cls, theirs)), None)
    if theirs is None or issubclass(cls, MENDED[theirs]):
        return cls
    bases = (MENDED[theirs],) if cls is theirs else (cls, MENDED[theirs])
    return type(cls.__name__, bases, {'__module__': cls.__module__, '__qualname__': cls.__qualname__,
                                      '__doc__': cls.__doc__})
