"""Where epochs begin and end in iterations, also when a run starts inside one."""
from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Epochs:
    """Epochs of whole joint batches; what does not fill one is left for no epoch (every epoch has another order).

    Attributes:
        samples: of one epoch, i.e. images times dataset_enlarge_ratio.
        joint_batch: samples of one iteration, over all processes; at most `samples`.
        total_iters: where training ends, inside an epoch or not.
        start_iter, start_epoch, start_position: of a resumed run, the iterations that are done, the epoch that the last
            of them belongs to, and how many samples of that epoch are done.
    """

    samples: int
    joint_batch: int
    total_iters: int
    start_iter: int = 0
    start_epoch: int = 0
    start_position: int = 0

    @property
    def per_epoch(self) -> int:
        """Iterations of a whole epoch."""
        return self.samples // self.joint_batch

    @property
    def count(self) -> int:
        """The number of epochs up to `total_iters`, those before the start included."""
        rest = self.total_iters - self.start_iter - self._possible(self.start_epoch)
        return self.start_epoch + 1 + max(0, math.ceil(rest / self.per_epoch))

    def skipped(self, epoch: int) -> int:
        """Samples of an epoch that were done before this run."""
        return self.start_position if epoch == self.start_epoch else 0

    def iterations_before(self, epoch: int) -> int:
        """Iterations that are done when this run comes to an epoch."""
        if epoch <= self.start_epoch:
            return self.start_iter
        return self.start_iter + self._possible(self.start_epoch) + (epoch - self.start_epoch - 1) * self.per_epoch

    def batches(self, epoch: int) -> int:
        """Iterations of an epoch that this run does."""
        return max(0, min(self._possible(epoch), self.total_iters - self.iterations_before(epoch)))

    def position(self, epoch: int, iteration: int) -> int:
        """Samples of the epoch that are done after an iteration of it."""
        return self.skipped(epoch) + (iteration - self.iterations_before(epoch)) * self.joint_batch

    def _possible(self, epoch: int) -> int:
        return (self.samples - self.skipped(epoch)) // self.joint_batch
