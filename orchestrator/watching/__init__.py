"""What people see of a sweep while it runs and after it."""
