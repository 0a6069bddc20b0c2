"""The only importers of MLflow, DVC, Great Expectations, Evidently and boto3."""
