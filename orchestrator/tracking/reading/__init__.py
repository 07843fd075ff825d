"""Runs out of an MLflow store of any kind; without mlflow where its tables or its API can be asked directly."""
