"""Definitions of every reported number, in pure numpy."""
