"""The whole story on real solar cells, told by `defectloop demo`."""
