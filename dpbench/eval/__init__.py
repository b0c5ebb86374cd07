"""Tasks, result records and the leaderboard."""
