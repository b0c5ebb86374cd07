"""Readers of cp2k."""
