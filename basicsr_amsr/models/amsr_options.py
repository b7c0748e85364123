"""The options of AMSRModel, and what does not go together among those of a whole file."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, Strict, model_validator
from typing_extensions import Self

from basicsr_amsr.options.mistakes import Problem, value_at
from basicsr_amsr.options.section import Decay, File, Loss, Optimizer, PositiveNumber, Scheduler, Share
from basicsr_amsr.options.sections import Path, Train


class AMSRTrain(Train):
    """`train:` of AMSRModel."""

    optim_g: Optimizer = Field(description='{type: Adam, lr: …}')
    scheduler: Scheduler = Field(description='{type: MultiStepLR, …} or CosineAnnealingRestartLR')
    warmup_iter: Annotated[int, Field(ge=-1)] = Field(-1, description='iterations of warm-up; -1 for none')
    ema_decay: Decay = Field(0.0, description='weight of the past in the moving average of the weights; 0 for none')
    pixel_opt: Loss = Field(description='loss against the HR image, such as {type: L1Loss, loss_weight: 1}')
    perceptual_opt: Loss | None = Field(None, description='loss on the features of VGG')
    teacher_opt: Loss | None = Field(None, description="loss against the plain network's image, such as {type: L1Loss, "
                                                       'loss_weight: 1}; ~ for no teacher')
    prediction_lr: PositiveNumber | None = Field(
        None, description="learning rate of the calibration's predictions; ~: they stay as they are")
    keep_range: Annotated[tuple[Share, Share], Strict(False)] | None = Field(
        None, description="[least, most]: the share of the patches is drawn between them for each batch, in place of "
                          "the network's; a share of each image, or of the calibration's by its level")

    @model_validator(mode='after')
    def _check_range(self) -> Self:
        if self.keep_range and self.keep_range[0] > self.keep_range[1]:
            raise ValueError(f'keep_range is {list(self.keep_range)}: give the least share first.')
        return self


class AMSRPath(Path):
    """`path:` of AMSRModel."""

    pretrain_network_teacher: File | None = Field(None, description='weights of the teacher; default: those of '
                                                  'pretrain_network_g')


def find_conflicts(options: Mapping[str, Any]) -> Iterator[Problem]:
    """What a training cannot do, though each section by itself is right.

    Args:
        options: of the whole file; `path:` as it was given, also where a run is resumed.
    """
    def given(*place: str) -> Any:
        return value_at(options, place)

    name = given('network_g', 'type')
    if name != 'AMSR':
        yield Problem(('network_g', 'type'), f'network_g: type is {name}, but AMSRModel trains accelerated networks: '
                      f'write {{type: AMSR, backbone: {{type: {name}}}}}.')
        return
    if given('network_g', 'mode') == 'sparse':
        yield Problem(('network_g', 'mode'), 'network_g: mode: sparse has no gradients: leave mode out to train.')
    if given('network_g', 'backbone', 'use_checkpoint'):
        yield Problem(('network_g', 'backbone', 'use_checkpoint'), 'network_g: backbone: use_checkpoint computes units '
                      'again in the backward pass, where there is no mask: leave it out.')
    if given('train', 'prediction_lr') and not given('network_g', 'calibration'):
        yield Problem(('train', 'prediction_lr'), 'train: prediction_lr: there are no predictions to train: name a '
                      'file of basicsr calibrate in network_g: calibration, or leave it out.')
    weights, teacher = (given('path', f'pretrain_network_{which}') for which in ('g', 'teacher'))
    if given('train', 'teacher_opt') and not (weights or teacher):
        yield Problem(('train', 'teacher_opt'), 'train: teacher_opt: the teacher has no weights: name those of the '
                      'plain network in path: pretrain_network_g, or write ~ to train without teacher.')
    if teacher and not given('train', 'teacher_opt'):
        yield Problem(('path', 'pretrain_network_teacher'), 'path: pretrain_network_teacher: there is no loss against '
                      'the teacher: give train: teacher_opt, such as {type: L1Loss, loss_weight: 1}.')
    deciding = [place for place in (('budget',), ('keep',), ('selection', 'dilation'), ('selection', 'threshold'))
                if given('network_g', *place)]
    for place in deciding if given('train', 'keep_range') else ():
        yield Problem(('train', 'keep_range'), f'train: keep_range decides alone what share is computed: leave out '
                      f'{": ".join(("network_g", *place))}.')
