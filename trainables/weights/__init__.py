"""Pretrained weights: where they are, whether they fit, and what is known of them."""
