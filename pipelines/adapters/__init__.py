"""Adapters: the only modules that import MLflow, DVC, Great Expectations, Evidently, boto3 or pycocotools, or run git."""
