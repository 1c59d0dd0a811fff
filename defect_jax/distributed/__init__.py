"""Devices and processes of one run."""
