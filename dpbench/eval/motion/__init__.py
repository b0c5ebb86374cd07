"""Molecular dynamics of the tasks: replicas that may fail, and what they compare to.

Every backend moves in dpbench's own engine, so that integrator, thermostat and limits
are the same for all; a foreign one is asked for the forces of all replicas at once.
"""
