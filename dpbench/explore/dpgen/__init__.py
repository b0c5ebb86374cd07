"""Inputs of DP-GEN as configurations of ``dpbench explore``."""
