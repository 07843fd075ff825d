"""What a search space says, as plain and frozen data."""
