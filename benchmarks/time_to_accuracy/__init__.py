"""Seconds to the accuracy that DeePMD-kit's best reaches within a budget."""
