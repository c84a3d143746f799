"""Parts by name, and the one check of the options that a configuration, a checkpoint or a caller hands in.

A part (a model family, a block, a reader, a loss term, a metric, ..) is a class or function. Its signature is its schema:
what it takes positionally is context that the program supplies, its keyword-only parameters are the options that a
configuration may set, and their annotations say which values are allowed::

    MODELS = Registry("model", home="lsm.model")

    @MODELS.register("mine")
    class MyModel(nn.Module):
        def __init__(self, spec: FieldSpec, *, width: Count = 32, dropout: Share = 0.0) -> None: ...

    model = MODELS.make({"name": "mine", "width": 16}, spec)

Checkpoints name parts by these names and nothing else, so that no file can name code to run.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, MinLen

from lsm.errors import InputError, OptionError, UnknownNameError

Part = TypeVar("Part", bound=Callable[..., Any])

#: A whole number of at least 1.
Count = Annotated[int, Ge(1)]

#: A number of scales, each of which halves the sites.
Scales = Annotated[int, Interval(ge=1, le=16)]

#: A whole number of at least 0.
Index = Annotated[int, Ge(0)]

#: A number of at least 0.
NotNegative = Annotated[float, Ge(0)]

#: A number above 0.
Positive = Annotated[float, Gt(0)]

#: A number from 0 to 1.
Share = Annotated[float, Interval(ge=0, le=1)]

#: At least one name.
Names = Annotated[Sequence[str], MinLen(1)]

#: The description ``{name: ..., option: ...}`` of a nested part.
Config = Mapping[str, Any]

#: Number of sites along each axis, or one number for all axes; None for all that are stored.
Resolution = Count | Sequence[Count] | None


class Registry(Generic[Part]):
    """Parts of one kind by name.

    Args:
        what: the kind, for messages.
        home: a package whose modules register parts of this kind; they are imported on the first look.

    Example:
        >>> SHAPES = Registry("shape")
        >>> @SHAPES.register("box")
        ... def make_box(spec, *, width: Count = 2):
        ...     return (spec, width)
        >>> SHAPES.make({"name": "box", "width": 3}, "spec")
        ('spec', 3)
        >>> SHAPES.make({"name": "box", "width": 0}, "spec")
        Traceback (most recent call last):
        lsm.errors.OptionError: width is 0, expected a whole number of at least 1
    """

    def __init__(self, what: str, home: str | None = None) -> None:
        self.what, self._home, self._is_loaded = what, home, home is None
        self._parts: dict[str, Part] = {}

    def register(self, name: str) -> Callable[[Part], Part]:
        """Decorator that gives a part its name.

        Raises:
            InputError: another part has this name.
        """

        def enter(part: Part) -> Part:
            place = _place_of(part)
            if not place.startswith(f"{self._home}."):  # a plug-in may be imported before the parts at home
                self._load()
            if (taken := _place_of(self._parts.get(name, part))) != place:
                raise InputError(f"{self.what} {name!r} is {taken} already; register {place} under another name")
            self._parts[name] = part
            return part

        return enter

    def _load(self) -> None:
        if self._home is not None and not self._is_loaded:
            package = import_module(self._home)
            self._is_loaded = True
            for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
                import_module(module.name)

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._parts)

    def __getitem__(self, name: str) -> Part:
        """The part of this name.

        Raises:
            UnknownNameError: there is none; the message lists those that there are.
        """
        self._load()
        if not isinstance(name, str) or name not in self._parts:
            raise UnknownNameError(
                f"{self.what} {_shown(repr(name))} is unknown; choose one of: {', '.join(self.names())}"
            )
        return self._parts[name]

    def make(self, config: Config | str, *context: Any) -> Any:
        """Call a part with its context and the options of a configuration.

        Args:
            config: ``{name: ..., option: value, ..}``, or a name alone; an option that is None keeps its default.
            context: what the part takes positionally.
        Raises:
            InputError: the name is unknown.
            OptionError: an option is unknown, missing, or not of the kind or range that its annotation allows.
        """
        return self.prepare(config)(*context)

    def prepare(self, config: Config | str) -> Callable[..., Any]:
        """A part with its options checked and filled in, to be called with its context; see :meth:`make`."""
        plain = {"name": config} if isinstance(config, str) else dict(config)
        if "name" not in plain:
            raise InputError(f"{self.what} is {plain}, expected a name and options; names: {', '.join(self.names())}")
        part = self[plain.pop("name")]
        options = {name: value for name, value in plain.items() if value is not None}
        check_options(part, options)
        return lambda *context: part(*context, **options)


def _place_of(part: Any) -> str:
    """Where a part is defined, such as ``lsm.model.unet.UNet``."""
    return f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', repr(part))}"


class Options:
    """Base of dataclasses whose fields are options: values that do not fit their annotations, or one another, are refused.

    Raises:
        OptionError: a field has another kind or range, or does not fit the other fields.
    """

    def __post_init__(self) -> None:
        check_options(type(self), {field.name: getattr(self, field.name) for field in fields(self)})  # type: ignore[arg-type]
        if problem := self.find_problem():
            raise OptionError(*problem)

    def find_problem(self) -> tuple[str, str] | None:
        """The first option that does not fit the others, and why, in words; each alone is of the right kind and range."""
        return None


def check_options(part: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check options against the signature of the part that takes them.

    Args:
        part: a class or function; of a dataclass every field is an option, otherwise every keyword-only parameter.
        options: by name.
    Raises:
        OptionError: an option is unknown, missing, or of another kind or range; the message says what is expected.
    """
    known = options_of(part)
    for name in options:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise OptionError(name, f"is no option of {part.__name__}; its options: {listed}")
    for name, parameter in known.items():
        if name in options:
            check_value(name, options[name], parameter.annotation)
        elif parameter.default is inspect.Parameter.empty:
            raise OptionError(name, f"is missing, expected {describe(parameter.annotation)}")


@cache
def options_of(part: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options of a part by name, with their annotations resolved."""
    function = part.__init__ if inspect.isclass(part) else part
    hints = get_type_hints(part if is_dataclass(part) else function, include_extras=True)
    taken = inspect.signature(part).parameters
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in taken.items()
        if is_dataclass(part) or parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def check_value(name: str, value: Any, annotation: Any) -> None:
    """Check one value against an annotation, without conversion: ``True`` is no number, and ``"3"`` neither.

    Raises:
        OptionError: it is of another kind or range.
    """
    if not _allows(annotation, value):
        raise OptionError(name, f"is {_shown(value)}, expected {describe(annotation)}")


def _shown(value: Any, longest: int = 200) -> str:
    """A value on one line of a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= longest else f"{text[:longest]} ..."


def _allows(annotation: Any, value: Any) -> bool:
    kind, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Any:
        return True
    if kind is Annotated:
        return _allows(arguments[0], value) and all(_is_within(limit, value) for limit in arguments[1:])
    if kind is Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if kind in (Union, UnionType):
        return any(_allows(choice, value) for choice in arguments)
    if not _is_of_kind(kind, value):
        return False
    if kind is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(_allows, arguments, value))
    if issubclass(kind, Mapping):
        return all(
            _allows(argument, item) for pair in value.items() for argument, item in zip(arguments, pair, strict=False)
        )
    return not (arguments and issubclass(kind, Sequence)) or all(_allows(arguments[0], item) for item in value)


def _is_of_kind(kind: type, value: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return type(value) is kind
    if kind is float:
        return isinstance(value, (int, float)) and -inf < value < inf
    if issubclass(kind, Sequence) and isinstance(value, (str, bytes)):
        return type(value) is kind
    return isinstance(value, kind)


def _is_within(limit: Any, value: Any) -> bool:
    """Whether a value keeps one of the limits of ``annotated_types``."""
    held = {
        "ge": lambda bound: value >= bound,
        "gt": lambda bound: value > bound,
        "le": lambda bound: value <= bound,
        "lt": lambda bound: value < bound,
        "multiple_of": lambda divisor: value % divisor == 0,
        "min_length": lambda length: len(value) >= length,
        "max_length": lambda length: len(value) <= length,
    }
    bounds = {name: bound for name in held if (bound := getattr(limit, name, None)) is not None}
    return all(held[name](bound) for name, bound in bounds.items())


def describe(annotation: Any) -> str:
    """Which values an annotation allows, in words.

    Example:
        >>> describe(Count)
        'a whole number of at least 1'
        >>> describe(Annotated[float, Interval(gt=0, le=0.05)])
        'a positive number of at most 0.05'
    """
    if get_origin(annotation) is Annotated:
        kind, *metadata = get_args(annotation)
        return _describe_limited(kind, metadata)
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]  # null stands for the default
        return " or ".join(dict.fromkeys(map(describe, kinds)))
    if inspect.isclass(get_origin(annotation)) and issubclass(get_origin(annotation), Sequence):
        items = dict.fromkeys(describe(kind) for kind in get_args(annotation) if kind is not Ellipsis)
        return f"a list, each item {' or '.join(items)}"
    if inspect.isclass(get_origin(annotation)) and issubclass(get_origin(annotation), Mapping):
        value = get_args(annotation)[1]
        return "a group of options" + ("" if value is Any else f", each {describe(value)}")
    return _KINDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


_KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text", NoneType: "null"}


_LIMITS = ("ge", "gt", "le", "lt", "multiple_of", "min_length")


def _describe_limited(kind: Any, metadata: Sequence[Any]) -> str:
    limits: dict[str, Any] = {}
    for constraint in metadata:
        limits |= {name: limit for name in _LIMITS if (limit := getattr(constraint, name, None)) is not None}
    expected = describe(kind)
    if kind is float and limits.get("gt") == 0:
        del limits["gt"]
        expected = "a positive number"
    if divisor := limits.pop("multiple_of", None):
        expected = f"a multiple of {divisor}"
    if limits.pop("min_length", 0):
        expected += ", at least one"
    if {"ge", "le"} <= set(limits):
        return f"{expected} from {limits['ge']:.15g} to {limits['le']:.15g}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    return " ".join([expected, " and ".join(f"{words[name]} {limit:.15g}" for name, limit in limits.items())]).rstrip()
