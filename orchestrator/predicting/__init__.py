"""What `segsweep predict` is asked for, done and told."""
