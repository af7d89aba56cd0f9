"""From results to MLflow, for people. The only room that knows MLflow."""
