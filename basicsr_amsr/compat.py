"""What BasicSR 1.4.2 needs on today's PyTorch, SciPy and Python; applied when basicsr_amsr is imported."""
import sys
import types


def apply() -> None:
    """Apply every patch; applying twice changes nothing."""
    import torchvision.transforms.functional as functional

    name = 'torchvision.transforms.functional_tensor'
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.rgb_to_grayscale = functional.rgb_to_grayscale
        sys.modules[name] = module
