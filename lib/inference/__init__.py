"""Use of a trained run: evaluation, comparison, prediction, explanation and export."""
