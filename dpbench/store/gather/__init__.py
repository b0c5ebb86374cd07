"""Copying the frames of a batch out of mapped shards, compiled."""
