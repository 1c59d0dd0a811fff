"""The files of --mode=export: what stands in the card, and whether both models say the same."""
