"""Figures of panels as PNG, for every command that draws."""
from __future__ import annotations

import io
from typing import Any

COLOURS = ('#0060d0', '#e08000', '#2e9a2e', '#7030a0', '#008080', '#e00000', '#906030', '#606060')


def new_figure(width: float, height: float) -> Any:
    """An empty figure of Matplotlib, in inches, that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Any, dpi: int = 110) -> bytes:
    """What a file of the figure holds."""
    stream = io.BytesIO()
    figure.savefig(stream, format='png', dpi=dpi)
    return stream.getvalue()
