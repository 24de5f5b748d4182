import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.specs import Registry, Spec, parse, parse_one

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-1e3, 1e3) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}x", fullmatch=True)  # none of them is a keyword
SPECS = st.builds(
    Spec, NAMES, st.lists(LITERALS, max_size=2).map(tuple), st.dictionaries(NAMES, LITERALS)
)


@pytest.fixture
def operations():
    registry = Registry("operation")

    @registry.register
    def darken(examples, draw, most=0.5, times=1):
        """Multiplies by up to so much.

        And more.
        """
        return examples, draw, most, times

    @registry.register
    def flip(examples, draw):
        """Flips."""
        return examples, draw

    return registry


def test_a_chain_is_names_with_values_joined_by_bars():
    assert parse("flip|rotate(0.2) | color(0.3, hue=-0.1)") == (
        Spec("flip"),
        Spec("rotate", (0.2,)),
        Spec("color", (0.3,), {"hue": -0.1}),
    )


def test_an_empty_text_is_an_empty_chain():
    assert parse("  ") == ()


@given(st.lists(SPECS, min_size=1, max_size=3))
def test_what_is_printed_reads_back_as_the_same_chain(chain):
    assert parse("|".join(map(str, chain))) == tuple(chain)


@pytest.mark.parametrize(
    "text",
    [
        "rotate(",
        "f(x)",
        "f(1 + 1)",
        "f(g())",
        "a.b()",
        "f()()",
        "f(**{})",
        "f(*[1])",
        "lambda: 0",
        "f & g",
        "'f'",
        "1",
        "f;g",
        "__import__('os').system('true')",
        "f(" * 300 + ")" * 300,
    ],
)
def test_nothing_else_is_read(text):
    with pytest.raises(UserError, match="expected name or name"):
        parse(text)


@pytest.mark.parametrize("text", ["", "a|b"])
def test_one_spec_is_neither_none_nor_several(text):
    with pytest.raises(UserError, match="expected one name"):
        parse_one(text)


def test_a_spec_fills_in_what_has_a_default(operations):
    assert operations.bind(parse_one("darken"))("e", "d") == ("e", "d", 0.5, 1)
    assert operations.bind(parse_one("darken(0.2)"))("e", "d") == ("e", "d", 0.2, 1)
    assert operations.bind(parse_one("darken(times=3)"))("e", "d") == ("e", "d", 0.5, 3)


def test_an_unknown_name_is_answered_with_near_ones(operations):
    with pytest.raises(UserError, match=r"no operation 'darkn'; did you mean darken"):
        operations.bind(parse_one("darkn(0.2)"))
    with pytest.raises(UserError, match=r"expected one of darken, flip"):
        operations.bind(parse_one("zzz"))


@pytest.mark.parametrize(
    "text",
    ["darken(1, 2, 3)", "darken(least=1)", "darken(0.1, most=0.2)", "darken(examples=1)"],
)
def test_a_wrong_argument_is_answered_with_the_signature(operations, text):
    with pytest.raises(UserError, match=r"expected darken\(most=0.5, times=1\)"):
        operations.bind(parse_one(text))


@pytest.mark.parametrize("text", ["darken('x')", "darken(None)", "darken(True)", "darken([1])"])
def test_a_value_of_another_kind_than_the_default_is_refused(operations, text):
    with pytest.raises(UserError, match=r"is not of the kind of 0\.5"):
        operations.bind(parse_one(text))


def test_what_takes_no_values_says_so(operations):
    with pytest.raises(UserError, match=r"too many positional arguments; expected flip$"):
        operations.bind(parse_one("flip(1)"))


def test_a_name_is_taken_once(operations):
    with pytest.raises(UserError, match="'flip' exists already"):

        @operations.register
        def flip(examples, draw):
            return examples


def test_a_registry_describes_what_it_holds(operations):
    assert operations.describe() == [
        ("darken(most=0.5, times=1)", "Multiplies by up to so much."),
        ("flip", "Flips."),
    ]
