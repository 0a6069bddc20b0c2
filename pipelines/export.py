"""Entry point of the stage `export`. Every workspace has its own `dvc.yaml`, so this module name must not change."""

from pipelines.training import export, stage

if __name__ == "__main__":
    stage.run_stage(export.main)
