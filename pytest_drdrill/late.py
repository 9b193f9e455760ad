"""Late imports: a name of a package is looked up where it lives when it is first asked for.

So a suite pays only for the rooms that it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def names_of(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package, which imports what it is asked for.

    Args:
        package: its full name.
        homes: the names that each of its modules gives to it.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def look_up(name: str) -> object:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        # Not kept in globals(): where a test reloads the rooms, as pytester does, all must come
        # from the same loading, or a class would not be itself.
        value: object = getattr(import_module(f"{package}.{home}"), name)
        return value

    return look_up
