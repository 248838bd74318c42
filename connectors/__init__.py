"""Connectors to databases, brokers, MLflow, Great Expectations and foreign log formats."""
