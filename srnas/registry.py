"""Registries of the builders that YAML refers to by name.

A builder takes its context (a choice builder, a supernet, parameters) as positional arguments and
its options as keyword-only arguments. Options in YAML are checked against the annotations of these
arguments (`srnas.parts`). So a new part needs a single file, with its class or function under its
name.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from srnas.errors import UserError, did_you_mean

T_co = TypeVar("T_co", covariant=True)
Builder = TypeVar("Builder")


class Registry(Mapping[str, Callable[..., T_co]], Generic[T_co]):
    """A mapping from names to the builders of one kind of part.

    Args:
        kind: Kind of part ("regularizer"), for error messages.
        packages: Packages whose modules register the parts. They are imported at the first lookup,
            so that importing the registry itself is cheap.
        base: Class that every registered class must extend.
        elsewhere: Finds the builder of a name that is not registered, or returns None.
    """

    def __init__(
        self,
        kind: str,
        packages: Sequence[str] = (),
        base: type[T_co] | None = None,
        elsewhere: Callable[[str], Callable[..., T_co] | None] | None = None,
    ) -> None:
        self.kind = kind
        self._packages = tuple(packages)
        self._base = base
        self._elsewhere = elsewhere
        self._builders: dict[str, Callable[..., T_co]] = {}

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Return a decorator that registers a builder under `name`.

        Raises:
            UserError: On decoration, if the name is taken, or the class does not extend the
                registry's base or define its abstract methods.
        """

        def enter(builder: Builder) -> Builder:
            if name in self._builders:
                owner = getattr(self._builders[name], "__module__", "elsewhere")
                raise UserError(
                    f"{self.kind} {name!r} is registered twice, already in {owner}; choose another "
                    "name, or leave out a plugin that lies in the package"
                )
            base = self._base
            if base and not (inspect.isclass(builder) and issubclass(builder, base)):
                raise UserError(
                    f"{self.kind} {name!r} must extend {base.__module__}.{base.__name__}"
                )
            if inspect.isclass(builder) and inspect.isabstract(builder):
                lacking = ", ".join(sorted(getattr(builder, "__abstractmethods__", ())))
                raise UserError(f"{self.kind} {name!r} must define {lacking}")
            self._builders[name] = builder  # type: ignore[assignment]  # checked by its annotations
            return builder

        return enter

    def build(self, part: Any, *context: Any) -> T_co:
        """Check and build a part.

        Args:
            part: The part as in YAML, a name or a mapping of name and options.
            context: Positional arguments of the builder.

        Raises:
            UserError: The name is not registered, or an option does not fit.
        """
        from srnas.parts import check_part  # not at the top: it imports this module

        return check_part(self, part, self.kind).build(*context)

    def options_of(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the keyword-only parameters of a builder, with resolved annotations."""
        signature = inspect.signature(self[name], eval_str=True)
        return {
            key: parameter
            for key, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def __getitem__(self, name: str) -> Callable[..., T_co]:
        if name not in self:
            raise UserError(f"no {self.kind} is named {name!r}; {did_you_mean(name, self)}")
        return self._builders[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        if name not in self._builders and self._elsewhere:
            found = self._elsewhere(str(name))
            if found:
                self._builders[str(name)] = found
        return name in self._builders

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._builders)

    def __len__(self) -> int:
        self._load()
        return len(self._builders)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def _load(self) -> None:
        packages, self._packages = self._packages, ()
        for name in packages:
            package = importlib.import_module(name)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{name}.{module.name}")
