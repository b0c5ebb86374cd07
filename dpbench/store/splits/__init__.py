"""Splits: named parts of a version that no trajectory straddles."""
