"""Stores in an object store: references, segments, and bringing them here."""
