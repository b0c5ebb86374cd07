"""Stands for MACE in the tests of foreign trainers: files, no physics."""
