"""Generated surfaces with defects."""
