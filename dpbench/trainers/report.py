"""What a foreign run came to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.train.history import CurveRow
from dpbench.train.progress import describe
from dpbench.train.runs import LOG_FILE
from dpbench.trainers.process import Cost
from dpbench.trainers.record import cost_facts, curve_facts


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignReport:
    """What a foreign run did."""

    trainer: str
    """The trainer's title."""
    backend: str
    """Backend that evaluates the model."""
    run_id: str
    """Name of the run."""
    run_folder: Path
    """Data, log, learning curve and all that the trainer wrote."""
    model_path: Path | None
    """The model; None if the run was stopped."""
    model_digest: str | None
    """``sha256:`` and that of the file."""
    dataset: str
    """The version."""
    split_digest: str
    """The split."""
    sizes: dict[str, int]
    """Frames of each part."""
    steps: int
    """Steps done."""
    planned_steps: int
    """Steps of the whole run."""
    cost: Cost
    """Of all stages."""
    parameters: int | None
    """Of the model, where known."""
    interrupted: bool
    """Whether it was stopped before its end."""
    last: CurveRow | None
    """Last point of the learning curve."""

    def summary(self) -> str:
        """Word the outcome for a person; the model's path comes last."""
        lines = [
            f"{self.trainer}: {self.steps} of {self.planned_steps} steps on "
            f"{self.dataset}; run {self.run_id}",
            f"cost             {self.cost.wall_s:.0f} s, {self.cost.cpu_s:.0f} s of "
            f"processors, {self.cost.peak_bytes / 1e6:.0f} MB",
        ]
        if self.parameters is not None:
            lines.append(f"model            {self.parameters} parameters")
        if self.last is not None:
            lines.append(f"learning curve   {describe(self.last)}")
        lines.append(f"log              {self.run_folder / LOG_FILE}")
        if self.model_path is None:
            lines.append(f"stopped; what it wrote is in {self.run_folder}")
        else:
            lines.append(
                f"measure it with  dpbench evaluate --model {self.model_path} "
                f"--backend {self.backend}"
            )
            lines.append(str(self.model_path))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        path = self.model_path
        return {
            "trainer": self.trainer,
            "backend": self.backend,
            "run_id": self.run_id,
            "run_folder": str(self.run_folder),
            "model": None if path is None else str(path),
            "model_digest": self.model_digest,
            "dataset": self.dataset,
            "split": {"digest": self.split_digest, "parts": self.sizes},
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "cost": cost_facts({"all": self.cost})["all"],
            "parameters": self.parameters,
            "interrupted": self.interrupted,
            "last": curve_facts([] if self.last is None else [self.last])["last"],
        }
