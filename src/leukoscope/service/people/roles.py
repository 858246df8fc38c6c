"""What a role allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

#: Each role, and the roles whose rights it has too.
ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "viewer": frozenset({"viewer"}),
        "reader": frozenset({"viewer", "reader"}),
        "signer": frozenset({"viewer", "reader", "signer"}),
        "manager": frozenset({"viewer", "manager"}),
        "auditor": frozenset({"auditor"}),
        "admin": frozenset({"admin"}),
    }
)


def rights(roles: Iterable[str]) -> frozenset[str]:
    """All roles whose rights the roles give together.

    >>> sorted(rights(["reader", "admin"]))
    ['admin', 'reader', 'viewer']
    """
    return frozenset().union(*(ROLES[role] for role in roles))


def known_roles(roles: Iterable[str]) -> list[str]:
    """The roles in their fixed order, each once.

    Raises:
        ValueError: one is unknown.
    """
    wanted = set(roles)
    unknown = wanted - set(ROLES)
    if unknown:
        raise ValueError(f"there is no role {sorted(unknown)[0]!r}; the roles are {', '.join(ROLES)}")
    return [role for role in ROLES if role in wanted]
