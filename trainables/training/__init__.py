"""How one configuration is built, trained, scored and saved."""
