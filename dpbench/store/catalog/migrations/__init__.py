"""Alembic environment of the registry."""
