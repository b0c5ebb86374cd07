"""Isolated backends: cards, environments, workers and the protocol between them."""
