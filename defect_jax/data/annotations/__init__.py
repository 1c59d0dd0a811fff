"""Annotations of other programs, read into images and masks: --mode=import."""
