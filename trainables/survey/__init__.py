"""What `segsweep data check` and `data stats` find out about datasets."""
