import pytest

from lib.errors import UserError
from lib.study.space import Choice, Range, grid, parse, samples


def test_ranges_and_choices_are_read():
    space = parse(
        "finetune_learning_rate=log(1e-6, 1e-3); finetune_optimizer=adam|rmsprop|"
        "adamw(weight_decay=0.05); fine_tune_at = block_13|35%|all; dropout=uniform(0, 0.5);"
        "head_epochs=int(1, 4);"
    )
    assert space == {
        "finetune_learning_rate": Range(1e-6, 1e-3, log=True),
        "finetune_optimizer": Choice(("adam", "rmsprop", "adamw(weight_decay=0.05)")),
        "fine_tune_at": Choice(("block_13", "35%", "all")),
        "dropout": Range(0, 0.5),
        "head_epochs": Range(1, 4, whole=True),
    }


def test_a_value_with_a_bar_or_a_semicolon_stands_in_quotes():
    space = parse("""augment="flip|rotate(0.2)"|'flip'|"";loss=focal(gamma=2)|x(";|")""")
    assert space["augment"] == Choice(("flip|rotate(0.2)", "flip", ""))
    assert space["loss"] == Choice(("focal(gamma=2)", 'x(";|")'))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        (" ; ", "it is empty"),
        ("rate", "expected flag=values"),
        ("=3|4", "expected flag=values"),
        ("a b=3|4", "expected flag=values"),
        ("a=1|2; a=3", "a is there twice"),
        ("a=1||2", "a value is missing"),
        ("a=", "a value is missing"),
        ("a=1|1", "a value is there twice"),
        ("a=log(1e-6, 1e-3", "a parenthesis is opened or closed only once"),
        ("a=1)|2", "a parenthesis is opened or closed only once"),
        ('a="1|2', "the quote"),
        ("a=log(0, 1)", "a low end above 0"),
        ("a=log(1)", "with two numbers"),
        ("a=log(1, 2, 3)", "with two numbers"),
        ("a=log(1, high=2)", "with two numbers"),
        ("a=uniform('x', 2)", "with two numbers"),
        ("a=uniform(2, 2)", "a low end below the high one"),
        ("a=uniform(1, 1e999)", "a low end below the high one"),
        ("a=int(1, 2.5)", "whole numbers"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_where(text, why):
    with pytest.raises(UserError) as error:
        parse(text)
    assert why in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith("--space: ")


def test_a_range_that_is_no_range_says_so():
    with pytest.raises(UserError, match="cannot be read"):
        parse("a=log(1 2)")


def test_the_grid_has_every_combination_once_where_there_are_finitely_many():
    space = parse("a=x|y; b=int(1, 3)")
    assert grid(space) == [{"a": a, "b": b} for a in ("x", "y") for b in (1, 2, 3)]
    assert grid(parse("a=x|y; b=uniform(1, 3)")) is None


def test_samples_hold_every_choice_and_both_ends_of_each_range():
    found = list(samples(parse("a=x|y|z; b=log(1e-3, 1); c=int(2, 4)")))
    assert found[0] == {"a": "x", "b": 1e-3, "c": 2}
    assert {each["a"] for each in found} == {"x", "y", "z"}
    assert {each["b"] for each in found} == {1e-3, 1}
    assert {each["c"] for each in found} == {2, 4}
    assert len(found) == 5
