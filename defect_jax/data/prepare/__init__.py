"""From raw files to a prepared set, written once."""
