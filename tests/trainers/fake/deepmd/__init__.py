"""Stands for DeePMD-kit in the tests of foreign trainers: files, no physics."""
