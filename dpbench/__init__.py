"""dpbench: data and benchmarks for Deep Potential models, from DFT output to MD."""

__version__ = "0.1.0"
