"""Decoded images and masks at working size, shared by all trials of a machine."""
