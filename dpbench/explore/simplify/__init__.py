"""Simplifying: a small, informative subset of a large dataset, and what it is worth."""
