"""The lanes of a laboratory: what its readers can call a cell, and what that means for the statement.

A manager changes them; each change is an event that holds the whole list. What a label that was read means, blast or
not, counted or not, never changes, so that no reading is ever read otherwise than it was meant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, insert, select, update

from leukoscope.service.database.chain import canonical
from leukoscope.service.database.tables import AdjudicationRow, ReadingRow, SettingRow
from leukoscope.service.labels import COMMAND_KEYS, LANES, LANES_CHANGED, Label, label_table
from leukoscope.service.people.accounts import Person
from leukoscope.service.problems import Problem
from leukoscope.service.workbench import Workbench

MOST: Final = 40
FIXED: Final = ("blast", "normal")  # what the model says: always there, always meant so


def known_lanes(connection: Connection) -> Mapping[str, Label]:
    """All labels that are known here, by name, in the order of the lanes."""
    value = connection.scalar(select(SettingRow.value).where(SettingRow.key == LANES))
    return label_table() if value is None else label_table([Label(**each) for each in json.loads(value)["lanes"]])


def lanes_version(connection: Connection) -> int:
    """Number of the event that made the lanes what they are; 0 where they were never changed."""
    value = connection.scalar(select(SettingRow.value).where(SettingRow.key == LANES))
    return 0 if value is None else int(json.loads(value)["seq"])


def change_lanes(bench: Workbench, person: Person, lanes: Sequence[Label], version: int) -> int:
    """Put other lanes in the place of those that are there.

    Args:
        bench: whose lanes.
        person: who changes them.
        lanes: all of them, in their order.
        version: `lanes_version` of the lanes that were shown to the person.

    Returns:
        The new version.

    Raises:
        Problem: the lanes contradict themselves, a label that was read is missing or would mean something else, or
            somebody else changed them meanwhile.
    """
    _check(lanes)
    given = label_table(lanes)
    with bench.database.write() as connection:
        if lanes_version(connection) != version:
            raise Problem(409, "the lanes were changed meanwhile", remedy="look at them again")
        used = set(connection.scalars(select(ReadingRow.label).distinct()))
        used |= set(connection.scalars(select(AdjudicationRow.label).distinct()))
        for name, old in known_lanes(connection).items():
            new = given.get(name)
            if name in used and (new is None or (new.blast, new.counts) != (old.blast, old.counts)):
                raise Problem(
                    409, f"cells were called {old.words}: it stays, and means what it meant",
                    remedy="take it out of the lanes instead, and make a new one",
                )  # fmt: skip
        told = [each.to_json() for each in lanes]
        link = bench.chain.append(connection, person.id, LANES_CHANGED, LANES, {"lanes": told})
        row = {"value": canonical({"seq": link.seq, "lanes": told}), "changed_by": person.id, "changed_at": link.at}
        done = connection.execute(update(SettingRow).where(SettingRow.key == LANES).values(**row))
        if not done.rowcount:
            connection.execute(insert(SettingRow).values(key=LANES, **row))
    return link.seq


def _check(lanes: Sequence[Label]) -> None:
    """Refuse lanes that contradict themselves."""
    if len(lanes) > MOST:
        raise Problem(422, f"at most {MOST} labels are kept")
    names, words = [each.name for each in lanes], [each.words.casefold() for each in lanes]
    twice = next((each for each in (*names, *words) if names.count(each) > 1 or words.count(each) > 1), None)
    if twice is not None:
        raise Problem(422, f"{twice!r} stands twice")
    missing = set(FIXED) - set(names)
    if missing:
        raise Problem(422, f"{min(missing)!r} is missing", remedy="blast and normal are what the model says: they stay")
    keys: dict[str, str] = dict.fromkeys(COMMAND_KEYS, "a command")
    for each in lanes:
        if each.name in FIXED and (each.blast, each.counts, each.offered) != (each.name == "blast", True, True):
            raise Problem(422, f"{each.name!r} means what the model means by it", remedy="leave it as it is")
        if each.blast and not each.counts:
            raise Problem(422, f"{each.words}: a blast is a white cell that counts")
        if not each.offered:
            continue
        if len(each.key) != 1 or each.key != each.key.lower() or not each.key.isprintable() or each.key == " ":
            raise Problem(422, f"{each.words}: {each.key!r} is no key", remedy="give one letter, digit or sign")
        if each.key in keys:
            raise Problem(422, f"{each.words}: the key {each.key} is that of {keys[each.key]} already")
        keys[each.key] = each.words
