"""Selecting: which explored frames are worth a label, and when to stop."""
