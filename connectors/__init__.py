"""Everything heavy at the edge: databases, brokers, MLflow, Great Expectations, foreign log formats."""
