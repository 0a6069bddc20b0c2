"""Pure numbers about verdicts, pixels, boxes and defect types, with their intervals and costs."""
