"""Readers of qe."""
