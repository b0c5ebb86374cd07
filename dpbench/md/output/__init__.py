"""What a run writes while it goes on: observables and trajectories, never kept."""
