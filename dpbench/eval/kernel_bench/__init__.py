"""How fast each kernel runs here, beside its reference and what the machine can do."""
