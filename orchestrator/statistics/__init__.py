"""How sure the leaderboard is: intervals, paired tests and ties, from the matrices of single images and from seeds."""
