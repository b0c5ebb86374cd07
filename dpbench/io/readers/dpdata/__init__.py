"""Readers of dpdata."""
