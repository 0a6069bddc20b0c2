"""The stage `train` as `dvc.yaml` calls it. Every workspace keeps its own `dvc.yaml`, so this name stays where it is."""

from pipelines.training import stage, train

if __name__ == "__main__":
    stage.run_stage(train.main)
