"""All that a spec can name, by the flag's topic, for those who list it."""

from lib.config import setting
from lib.data.augment import OPERATIONS
from lib.model.backbones import BACKBONES
from lib.training.losses import LOSSES
from lib.training.measures import MEASURES
from lib.training.optimizers import OPTIMIZERS, SCHEDULES

__all__ = ["OPTIMIZERS", "REGISTRIES"]

REGISTRIES = {
    f"Backbones of {setting('backbone')}": BACKBONES,
    f"Operations of {setting('augment')}": OPERATIONS,
    f"Losses of {setting('loss')}": LOSSES,
    f"Schedules of {setting('<phase>_schedule')}": SCHEDULES,
    f"What is measured every {setting('log_every')} steps": MEASURES,
}
