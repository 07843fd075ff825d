"""What machines have, what a trial needs of it, and how many trials that makes at once."""
