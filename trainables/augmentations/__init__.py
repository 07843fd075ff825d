"""Augmentations, one a file: the file's name is the name in the YAML (see segsweep.trainables.components)."""
