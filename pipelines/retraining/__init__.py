"""When to retrain, and where the automation works."""
