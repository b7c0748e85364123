"""Every validation figure of an experiment, kept in a file, so that the best ones are known after a resume."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from basicsr.models.base_model import BaseModel

from basicsr_amsr.files import write_whole

FILE = 'validation.jsonl'



def _path(model: Any) -> Path | None:
    root = model.opt['path'].get('experiments_root')
    return Path(root) / FILE if root and model.opt['rank'] == 0 else None


def update_best_metric_result(self: Any, dataset_name: str, metric: str, val: float, current_iter: int) -> None:
    """`BaseModel._update_best_metric_result`, which in training also appends the figure to validation.jsonl."""
    BaseModel._update_best_metric_result(self, dataset_name, metric, val, current_iter)
    append(self, dataset_name, metric, val, current_iter)


def append(model: Any, dataset_name: str, metric: str, val: float, current_iter: int) -> None:
    """Write a figure behind the others in validation.jsonl, in training."""
    path = _path(model) if model.is_train else None
    if path is not None:
        entry = {'iter': current_iter, 'dataset': dataset_name, 'metric': metric, 'value': float(val)}
        with open(path, 'a', encoding='utf-8') as file:
            file.write(f'{json.dumps(entry)}\n')


def resume(model: Any, iteration: int) -> None:
    """Forget figures of later iterations, which will come again, and find the best of the others."""
    path = _path(model)
    if path is None or not path.is_file():
        return
    entries = [entry for entry in _read(path) if entry['iter'] <= iteration]
    write_whole(path, ''.join(f'{json.dumps(entry)}\n' for entry in entries).encode())
    metrics = (model.opt.get('val') or {}).get('metrics') or {}
    for entry in entries:
        if entry['metric'] in metrics:
            model._initialize_best_metric_results(entry['dataset'])
            BaseModel._update_best_metric_result(model, entry['dataset'], entry['metric'], entry['value'],
                                                 entry['iter'])


def _read(path: Path) -> list[dict[str, Any]]:
    entries = []
    for line in path.read_text(encoding='utf-8').splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:  # the process died while it wrote the line
            continue
    return entries
