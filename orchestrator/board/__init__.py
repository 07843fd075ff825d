"""The leaderboard, read from MLflow."""
