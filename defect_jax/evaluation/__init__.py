"""From a trained network to decisions, result files and the report."""
