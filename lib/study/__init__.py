"""Runs of runs: one command line over seeds, over folds, or over a space of flags."""
