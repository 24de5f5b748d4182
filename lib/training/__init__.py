"""The loop: phases, optimizers, steps, state and checkpoints."""
