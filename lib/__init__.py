"""Thaw: transfer learning with a training loop of your own."""
