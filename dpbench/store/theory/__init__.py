"""Levels of theory: what is compared, by which rules, and what may not mix."""
