"""Reading everything again and naming what is damaged."""
