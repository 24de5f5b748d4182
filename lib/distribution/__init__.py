"""How a step is shared: slices of its batch, computed by any number of threads and workers."""
