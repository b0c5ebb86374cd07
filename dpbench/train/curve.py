"""The picture of a learning curve."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dpbench.train.history import CurveRow

_PANELS = (
    ("rmse_e", "energy, eV/atom"),
    ("rmse_f", "force, eV/Å"),
    ("rmse_v", "virial, eV/atom"),
)


def draw_curve(rows: Sequence[CurveRow], path: Path, *, title: str) -> None:
    """Draw the errors over the steps, training beside validation, as a PNG file."""
    panels = [panel for panel in _PANELS if _has_values(rows, panel[0])]
    figure = Figure(figsize=(4.2 * max(len(panels), 1), 3.4), layout="constrained")
    FigureCanvasAgg(figure)  # sets itself as the figure's canvas
    figure.suptitle(title, fontsize=10)
    for index, (name, label) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for part, style in (("train", "--"), ("validation", "-")):
            points = [
                (row.step, getattr(row, f"{name}_{part}"))
                for row in rows
                if getattr(row, f"{name}_{part}") > 0
            ]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=part)
        axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.set_ylabel(f"RMSE of {label}")
        axes.grid(visible=True, which="both", alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(path, format="png", dpi=120)


def _has_values(rows: Sequence[CurveRow], name: str) -> bool:
    return any(
        getattr(row, f"{name}_{part}") > 0
        for row in rows
        for part in ("train", "validation")
    )
