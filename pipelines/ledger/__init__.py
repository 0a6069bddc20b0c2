"""The durable record of every inspection, review, drift check, retraining request and promotion."""
