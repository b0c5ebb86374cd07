"""Descriptors, fitting, the potential, statistics and model files."""
