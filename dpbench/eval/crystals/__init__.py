"""Crystals: their references, prototypes, and what several tasks ask of them."""
