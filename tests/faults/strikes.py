"""Striking a verb at its steps: what is there afterwards is old or new; the same command then ends as undisturbed."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from .layer import DRAWN, HUNG
from .verbs import Place, Verb, View, content


@dataclass
class Struck:
    """A verb that ran undisturbed while the disk was taken down at each of its steps.

    Attributes:
        verb: the row.
        place: what it works on.
        before: a copy of what lay there.
        old: what a reader saw before.
        new: and after it.
        steps: in words; ``sites``: where each was taken, see `layer`.
        states: folders, as the disk may look if the process is killed or the power cut; named by step and way.
        tried: what was looked at, by way.
        ended: digests of disks from which the command has ended as undisturbed; it does not run from those again.
    """

    verb: Verb
    place: Place
    before: Path
    old: View
    new: View
    steps: list[str]
    sites: list[str]
    states: list[Path]
    tried: Counter[str] = field(default_factory=Counter)
    ended: set[str] = field(default_factory=set)

    @classmethod
    def watched(cls, verb: Verb, place: Place, kept: Path) -> Self:
        """Run it once. What has ended well outlasts a power cut."""
        command, patches = list(verb.command(place)), verb.patches(place)
        shutil.rmtree(place.root, ignore_errors=True)
        place.root.mkdir()
        verb.before(place)
        shutil.copytree(place.root, kept / "before")
        old, ended = verb.seen(place), {_digest(place.root)}
        answer = place.zygote(place.root, "watch", 0, command, patches)
        assert answer["status"] == verb.ends, answer
        new = verb.seen(place)
        assert new != old
        assert len(answer["steps"]) > 2
        place.root.with_name("states").rename(kept / "states")
        states = sorted((kept / "states").iterdir())
        found = cls(verb, place, kept / "before", old, new, answer["steps"], answer["sites"], states, ended=ended)
        for last in (each for each in states if each.name.startswith(f"{len(found.steps):04d}-")):
            found._take(shutil.copytree(last, kept / "last"))
            assert verb.seen(place) == new, last.name
        return found

    def look(self, states: Sequence[Path], *, again: bool) -> None:
        """Look at disks, which are used up; with ``again`` the command must end from each as undisturbed.

        Raises:
            AssertionError: something stands between old and new, or the command does not end as undisturbed.
        """
        for state in states:
            where = (state.name, self._word(int(state.name[:4])))
            self._take(state)
            self._old_or_new(where)
            self.tried["states looked at"] += 1
            if again:
                self._ends(where)

    def fail(self, mode: str, at: int) -> None:
        """Let the verb fail in a way of `layer`; afterwards as `look`.

        Args:
            mode: `fail`, `full`, `short` or `nomemory`.
            at: see there.
        """
        verb, place = self.verb, self.place
        self._take(shutil.copytree(self.before, self.before.with_name("struck")))
        answer = place.zygote(place.root, mode, at, list(verb.command(place)), verb.patches(place))
        where = (mode, at, self._word(at))
        assert answer["status"] in {0, 1, 2}, (where, _told(answer))
        assert "Traceback" not in answer["told"], (where, _told(answer))
        if mode != "nomemory" or answer["status"] != 1:  # 1: written, with the pictures that could not be read
            self._old_or_new(where)
        self.tried[mode] += 1
        self._ends(where)

    def _old_or_new(self, where: tuple[Any, ...]) -> None:
        for unit, said in self.verb.seen(self.place).items():
            assert said in (self.old.get(unit), self.new.get(unit)), (*where, unit, said)

    def _ends(self, where: tuple[Any, ...]) -> None:
        verb, place = self.verb, self.place
        if verb.once and verb.seen(place) == self.new:
            return
        digest = _digest(place.root)
        if digest in self.ended:
            return
        again = place.zygote(place.root, "count", 0, list(verb.command(place)), verb.patches(place))
        assert again["status"] == verb.ends, (*where, _told(again))
        assert "Traceback" not in again["told"], (*where, _told(again))
        found = verb.seen(place)
        wrong = {unit for unit in {*found, *self.new} if found.get(unit) != self.new.get(unit)}
        assert not wrong, (*where, {unit: _unlike(found.get(unit), self.new.get(unit)) for unit in wrong})
        left = [str(path) for path in place.root.rglob(".*") if path.suffix in (".part", ".old")]
        left += map(str, sorted(place.root.glob("out/checkpoints/epoch-*"))[:-1])  # checkpoints but the newest
        assert not left, (*where, left)
        self.tried["runs to the end"] += 1
        self.ended.add(digest)

    def _word(self, at: int) -> str:
        return self.steps[at - 1] if 0 < at <= len(self.steps) else "the end"

    def _take(self, folder: Path) -> None:
        """Put a folder, which is used up, in the place where the verb writes."""
        shutil.rmtree(self.place.root, ignore_errors=True)
        folder.rename(self.place.root)


def _told(answer: dict[str, Any]) -> tuple[Any, ...]:
    """How a command ended, and the end of what it said."""
    return "took too long" if answer["status"] == HUNG else answer["status"], answer["told"][-3000:]


def _digest(root: Path) -> str:
    """Of a folder as it lies there, without times and names drawn at random."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*"), key=lambda path: DRAWN.sub("*", str(path))):
        said = content(path) if path.is_file() else None
        found.update(repr((DRAWN.sub("*", str(path.relative_to(root))), said)).encode())
    return found.hexdigest()


def _unlike(one: Any, other: Any) -> Any:
    """Where two views differ, short."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _unlike(one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)}
    return str(one)[:300], str(other)[:300]
