"""Entry point of the stage `train`. Every workspace has its own `dvc.yaml`, so this module name must not change."""

from pipelines.training import stage, train

if __name__ == "__main__":
    stage.run_stage(train.main)
