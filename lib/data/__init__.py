"""Data sets, their splits, augmentation, and the order of training images."""
