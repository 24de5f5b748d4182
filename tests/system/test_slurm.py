import pytest

from lib.system.slurm import expanded


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", ["a"]),
        ("a,b-c.d", ["a", "b-c.d"]),
        ("n[2,10-12],gpu1", ["n2", "n10", "n11", "n12", "gpu1"]),
        ("n[08-10]", ["n08", "n09", "n10"]),
        ("r[1-2]n[1-2]x", ["r1n1x", "r1n2x", "r2n1x", "r2n2x"]),
    ],
)
def test_the_hosts_of_slurm_are_expanded_in_its_order(text, hosts):
    assert expanded(text) == hosts
