"""Foreign trainers: the split goes out, a model with its digests comes back."""
