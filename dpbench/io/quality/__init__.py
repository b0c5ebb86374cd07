"""Judging frames: twins, outliers, units, trajectories, equations of state."""
