"""Readers of vasp."""
