"""What a run tells people: progress, TensorBoard, plots, tables and results."""
