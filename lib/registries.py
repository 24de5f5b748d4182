"""All that a spec can name, by the flag's topic, for those who list it."""

from lib.data.augment import OPERATIONS
from lib.training.losses import LOSSES
from lib.training.measures import MEASURES
from lib.training.optimizers import OPTIMIZERS, SCHEDULES

__all__ = ["OPTIMIZERS", "REGISTRIES"]

REGISTRIES = {
    "Operations of --augment": OPERATIONS,
    "Losses of --loss": LOSSES,
    "Schedules of --<phase>_schedule": SCHEDULES,
    "What is measured every --log_every steps": MEASURES,
}
