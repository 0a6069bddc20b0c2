"""The stages of dvc.yaml (train, export, evaluate), and registration."""
