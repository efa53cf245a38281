"""MLflow's only gate: stores, runs, models and how they are found again."""
