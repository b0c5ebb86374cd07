"""Active learning: train an ensemble, explore, select, label, ingest, train again."""
