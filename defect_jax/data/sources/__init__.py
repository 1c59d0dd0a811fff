"""The data sets: one file each, and what a set declares."""
