"""Entry point of the stage `evaluate`. Every workspace has its own `dvc.yaml`, so this module name must not change."""

from pipelines.training import evaluate, stage

if __name__ == "__main__":
    stage.run_stage(evaluate.main)
