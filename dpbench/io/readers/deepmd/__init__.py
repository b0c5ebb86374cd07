"""Readers of deepmd."""
