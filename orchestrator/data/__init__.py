"""What `segsweep data` shows and does."""
