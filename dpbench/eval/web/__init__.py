"""What all pages that dpbench writes share: markup, plots, numbers, one style."""
