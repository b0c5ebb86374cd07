"""Readers of each code, writers of each format, checks, the parallel ingest."""
