"""One grammar for what a flag can name, `name(value, key=value)|…`, and what the names stand for.

A registry maps names to functions. The parameters of a function that have defaults are what a spec
may set; those without are what the program passes:

    OPERATIONS = Registry("operation")

    @OPERATIONS.register
    def darken(examples, draw, most=0.5): ...

    (spec,) = parse("darken(0.3)")
    operation = OPERATIONS.bind(spec)        # operation(examples, draw) darkens by 0.3 at most
"""

import ast
import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.errors import UserError


@dataclass(frozen=True)
class Spec:
    """A name and the values given to it.

    Attributes:
        name: what it names.
        values: those given by position.
        options: those given by name.
    """

    name: str
    values: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        arguments = [*map(repr, self.values), *(f"{k}={v!r}" for k, v in self.options.items())]
        return f"{self.name}({', '.join(arguments)})" if arguments else self.name


def parse(text: str) -> tuple[Spec, ...]:
    """Reads a chain of specs; an empty text is an empty chain.

    It is a Python expression of calls with literal arguments, joined by `|`; nothing is evaluated.

    Raises:
        UserError: the text is not of this form.
    """
    if not text.strip():
        return ()
    try:
        return tuple(map(_spec, _links(ast.parse(text.strip(), mode="eval").body)))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise UserError(
            f"{text!r} cannot be read; expected name or name(value, key=value), joined by |,"
            " where values are numbers, strings in quotes, True, False, None, or lists of these"
        ) from None


def parse_one(text: str) -> Spec:
    """Reads a single spec.

    Raises:
        UserError: the text is no spec, or a chain of several.
    """
    found = parse(text)
    if len(found) != 1:
        raise UserError(f"{text!r} has {len(found)} parts; expected one name(value, key=value)")
    return found[0]


def _links(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_links(node.left), node.right]
    return [node]


def _spec(node: ast.expr) -> Spec:
    if isinstance(node, ast.Name):
        return Spec(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError("not a name or a call of one")
    if any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("** is not a literal")
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
    return Spec(node.func.id, tuple(map(ast.literal_eval, node.args)), options)


def unknown(kind: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a name that stands for nothing, with those that are near it."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}" if near else f"expected one of {', '.join(known)}"
    return UserError(f"there is no {kind} {name!r}; {hint}")


class Registry:
    """Functions by name, of one kind.

    Args:
        kind: what an entry is called in messages, such as "operation".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._functions: dict[str, Callable] = {}

    def register(self, function: Callable) -> Callable:
        """Adds a function under its own name; to be used as a decorator.

        Raises:
            UserError: the name is taken.
        """
        name = function.__name__
        if name in self._functions:
            raise UserError(
                f"the {self.kind} {name!r} exists already; give the new one another name"
            )
        self._functions[name] = function
        return function

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __getitem__(self, name: str) -> Callable:
        """The function of that name, as it was registered.

        Raises:
            UserError: there is none; near names are listed.
        """
        if name not in self._functions:
            raise unknown(self.kind, name, sorted(self._functions))
        return self._functions[name]

    def bind(self, spec: Spec) -> Callable:
        """The function that a spec names, with the spec's values filled in.

        Raises:
            UserError: there is no such function, or it does not take these values.
        """
        function = self[spec.name]
        try:
            given = _settable(function).bind(*spec.values, **spec.options).arguments
        except TypeError as error:
            raise UserError(f"{spec}: {error}; expected {self.signature(spec.name)}") from None
        for name, value in given.items():
            default = _settable(function).parameters[name].default
            if not _alike(value, default):
                raise UserError(
                    f"{spec}: {name}={value!r} is not of the kind of {default!r};"
                    f" expected {self.signature(spec.name)}"
                )
        return functools.partial(function, **given)

    def signature(self, name: str) -> str:
        """A name with what a spec may set, such as `darken(most=0.5)`."""
        settable = _settable(self[name])
        return f"{name}{settable}" if settable.parameters else name

    def describe(self) -> list[tuple[str, str]]:
        """Signature and first line of the docstring of each entry, sorted by name."""
        return [
            (self.signature(name), (inspect.getdoc(self[name]) or "").partition("\n")[0])
            for name in sorted(self._functions)
        ]


def _settable(function: Callable) -> inspect.Signature:
    """The parameters of a function that have defaults, without their annotations."""
    return inspect.Signature(
        [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is not inspect.Parameter.empty
        ]
    )


def _alike(value: Any, default: Any) -> bool:
    """Whether a value may stand where a default does: numbers for numbers, text for text."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(default))
