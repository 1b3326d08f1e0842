"""Names in YAML files -> the functions and classes that build what they name.

What is built takes its context (a builder, a supernet) as positional arguments and its
options as keyword-only arguments with annotations; the annotations are what YAML is
checked against (`srnas.options.Part`). So a new part is one file and its name.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from srnas.errors import UserError, did_you_mean


class Registry(Mapping[str, Callable[..., Any]]):
    """A named table of builders: `REGISTRY.register("name")` on one, `REGISTRY["name"]`.

    A name that is not there raises UserError with the nearest names that are. elsewhere: asked
    for names that are not here; gives a builder or None.
    """

    def __init__(
        self, kind: str, elsewhere: Callable[[str], Callable[..., Any] | None] | None = None
    ) -> None:
        self.kind = kind
        self._elsewhere = elsewhere
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator: enter what it decorates under `name`; a name is given once."""

        def enter(builder: Any) -> Any:
            assert name not in self._builders, f"{self.kind} {name!r} is registered twice"
            self._builders[name] = builder
            return builder

        return enter

    def build(self, part: Mapping[str, Any], *context: Any) -> Any:
        """Build what `part` = {"name": NAME, option: value, ...} describes."""
        arguments = {key: value for key, value in part.items() if key != "name"}
        return self[part["name"]](*context, **arguments)

    def options_of(self, name: str) -> dict[str, inspect.Parameter]:
        """The options of a builder: its keyword-only parameters, annotations resolved."""
        signature = inspect.signature(self[name], eval_str=True)
        return {
            key: parameter
            for key, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self:
            raise UserError(f"no {self.kind} is named {name!r}; {did_you_mean(name, self)}")
        return self._builders[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._builders and self._elsewhere:
            found = self._elsewhere(str(name))
            if found:
                self._builders[str(name)] = found
        return name in self._builders

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def __len__(self) -> int:
        return len(self._builders)
