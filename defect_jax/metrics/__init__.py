"""Mergeable metrics and the curves they come from."""
