"""Exploring: start structures, walks by molecular dynamics, sanity filters."""
