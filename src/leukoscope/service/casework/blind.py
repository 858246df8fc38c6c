"""A case that is read blind hides every suggestion from whoever has not finished it.

Decision, probability, gate, words, heat map, neighbours, every order but that of places, and what another reader says:
they are hidden here on the server, not in the page.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping

from leukoscope.service.casework.verdicts import readers_done
from leukoscope.service.people.accounts import Person


def is_blind_to(connection: Connection, case: RowMapping, person: Person) -> bool:
    """Whether suggestions are hidden from a person."""
    if not case["blind"]:
        return False
    done = readers_done(connection, case["id"], case["version"])
    if "reader" not in person.rights:  # who only looks on sees no more than the readers do
        return bool(len(done) < case["readers"] and case["state"] == "open")
    return bool(person.id not in done and case["state"] == "open")
