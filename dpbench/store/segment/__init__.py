"""Segments: their layout, writing them, and reading them back."""
