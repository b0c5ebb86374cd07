"""The stages of an iteration; each reads what is done and does the rest."""
