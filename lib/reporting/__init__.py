"""Reports of a run for people: TensorBoard, plots, tables, pages and results."""
