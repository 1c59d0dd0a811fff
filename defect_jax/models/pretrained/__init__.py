"""Weights of encoders that others trained: where they come from, and how their files are read."""
