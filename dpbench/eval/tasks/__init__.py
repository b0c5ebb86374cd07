"""Tasks beside accuracy, stability and throughput, each in two stages.

The dear stage asks the model and keeps its answers as a file; the cheap one scores the
file, as often as wanted, with no model and no accelerator at hand.
"""
