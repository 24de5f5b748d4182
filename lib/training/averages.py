import contextlib

import tensorflow as tf


class Averages(tf.Module):
    def __init__(self, variables, decay):
        super().__init__()
        self._variables = [v.value for v in variables]
        self._decay = decay
        self.averages = [tf.Variable(v) for v in self._variables]

    def update(self):
        for a, v in zip(self.averages, self._variables):
            a.assign(self._decay * a + (1 - self._decay) * v)

    def overwrite(self):
        for a, v in zip(self.averages, self._variables):
            v.assign(a)

    @contextlib.contextmanager
    def swapped_in(self):
        kept = [tf.identity(v) for v in self._variables]
        self.overwrite()
        try:
            yield
        finally:
            for k, v in zip(kept, self._variables):
                v.assign(k)
