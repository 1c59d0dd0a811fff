"""A trained network at work: predictions, the Python interface, exported files."""
