"""Work folders of DP-GEN: every label, with the iteration and walk it comes from."""
