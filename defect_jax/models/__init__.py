"""Encoder, decoders, attention and heads."""
