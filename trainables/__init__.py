"""Everything one trial needs: data, model, loss, optimizer, LR schedule, epochs, metrics, checkpoint.

Nothing in here imports ray, mlflow, optuna or segsweep.orchestrator, so a trial runs in a plain test, under a
debugger, or on any machine with torch.
"""
