"""MLflow as the registry: versions, aliases, runs, and models that other programs load."""
