"""Descriptors, fitting, potentials, their statistics and their files."""
