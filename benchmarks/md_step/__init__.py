"""A step of molecular dynamics, beside LAMMPS with DeePMD-kit's models."""
