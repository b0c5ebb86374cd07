"""One file for each step of the registry, applied once, in order."""
