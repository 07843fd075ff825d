"""What `segsweep export` is asked for and makes, and where a trial came from."""
