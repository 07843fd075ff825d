"""MLflow, written and read. Nothing outside this package imports mlflow, and nothing in it does before it must."""
