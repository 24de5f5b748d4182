import pytest

from lib.config import Config
from lib.errors import UserError
from lib.training.trainable import require_trainable

CLASSES = ("ants", "bees")


def test_the_recipe_can_be_trained(network):
    require_trainable(Config(), network.backbone, CLASSES)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"augment": "flop"}, "--augment=flop: there is no operation 'flop'; did you mean flip"),
        ({"augment": "rotate(0.7)"}, r"--augment=rotate\(0.7\): .*expected a number from 0 to 0.5"),
        ({"loss": "focl"}, "--loss=focl: there is no loss 'focl'; did you mean focal"),
        ({"loss": "focal(gamma=-1)"}, r"--loss=focal\(gamma=-1\): .*not negative"),
        ({"class_weights": "ants:1"}, "--class_weights=ants:1: .*no weight for 'bees'"),
        ({"head_optimizer": "adan"}, "--head_optimizer=adan: .*did you mean adam"),
        ({"finetune_optimizer": "sgd(x=1)"}, r"--finetune_optimizer=sgd\(x=1\): .*'x'"),
        ({"head_schedule": "cosin"}, "--head_schedule=cosin: .*did you mean cosine"),
        ({"finetune_thaw": 154}, "--finetune_thaw=154: the backbone has layers 0 to 153"),
        ({"finetune_thaw": "block_17"}, "--finetune_thaw=block_17: .*near it: block_1"),
    ],
)
def test_what_a_phase_cannot_do_is_found_before_the_first_one_begins(network, wrong, said):
    with pytest.raises(UserError, match=said) as error:
        require_trainable(Config().with_flags(**wrong), network.backbone, CLASSES)
    assert "\n" not in str(error.value)
