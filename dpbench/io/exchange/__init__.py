"""Exports to other formats, and reading them back as they were."""
