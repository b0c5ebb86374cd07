"""The training loop: batches, loss, optimiser, schedule, checkpoints."""
