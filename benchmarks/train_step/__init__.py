"""A training step, beside DeePMD-kit and a floor of matrix products."""
