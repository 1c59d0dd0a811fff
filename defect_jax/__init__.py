"""Decides, part by part, whether a surface is defective, and shows where."""

__version__ = "0.1.0"
