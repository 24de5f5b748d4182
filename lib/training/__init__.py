"""The loop: phases, steps of sliced batches, optimizers, state and checkpoints."""
