"""Zarr segments, versions, splits, digests, the reader; the SQL registry."""
