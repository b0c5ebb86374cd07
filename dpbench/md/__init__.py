"""Molecular dynamics: integrators and the ASE calculator."""
