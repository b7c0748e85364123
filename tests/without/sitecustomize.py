"""Takes one mend of BasicSR away in every Python process whose PYTHONPATH names this folder.

WITHOUT_PATCH says which: the name of a patch, or of a method that a mended model class has in place of BasicSR's. The
tests of `test_compat_taken_away` run so, to see that they fail.
"""
import os
import sys

NAME = os.environ.get('WITHOUT_PATCH', '')
MOVED = {'torchvision functional_tensor': 'torchvision.transforms.functional_tensor',
         'scipy.ndimage.filters': 'scipy.ndimage.filters',
         'distutils LooseVersion': 'distutils.version.LooseVersion'}


def take_away() -> None:
    """Let the patch of that name do nothing, or take the method out once its class is there."""
    from basicsr_amsr.compat import imports, patching

    if NAME in MOVED:
        del imports.MOVED[MOVED[NAME]]
        return
    apply = patching.Patch.apply

    def apply_others(patch: patching.Patch) -> str:
        if patch.name == NAME:
            return patching.APPLIED
        outcome = apply(patch)
        if patch.name == 'build_model':
            take_method_away()
        return outcome

    patching.Patch.apply = apply_others


def take_method_away() -> None:
    """Take the method of that name out of the class that mends the models of this name, or all models."""
    from basicsr_amsr.models.mended import MENDED

    model, _, method = NAME.rpartition('.')
    for theirs, ours in MENDED.items():
        if theirs.__name__ == (model or 'BaseModel') and method in vars(ours):
            delattr(ours, method)


# Importing the package mends the import of BasicSR, which a data worker that starts afresh has to get from elsewhere.
if NAME and not any('spawn_main' in word for word in sys.orig_argv):
    take_away()
