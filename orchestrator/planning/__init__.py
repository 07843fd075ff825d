"""What a search space spans: combinations, cells, and how many trials each gets."""
