"""The network: pretrained backbone, new head, and what of it is frozen."""
