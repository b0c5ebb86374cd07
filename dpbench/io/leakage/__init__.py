"""What two sets of frames have in common: copies, twins, trajectories."""
