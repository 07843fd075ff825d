"""A running sweep: what is started, stopped and decided next."""
