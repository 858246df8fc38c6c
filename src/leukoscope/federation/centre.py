"""What the centre does in a training round: which sites' files count, the next head, and the bundle with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.schema import DecisionFacts, ParentFacts
from leukoscope.errors import DataError
from leukoscope.federation.heads import STRENGTH, Array, LinearHead, combine_heads
from leukoscope.federation.parcel import Parcel
from leukoscope.federation.rounds import LocalRound, Refusal, accepted
from leukoscope.keys import SiteKey


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A round as the centre ends it.

    Attributes:
        state: to send to the sites; its digest is what they must answer.
        head: that it holds.
        sites: whose files counted.
        refused: the others, with the reason.
    """

    state: Parcel
    head: LinearHead
    sites: tuple[str, ...]
    refused: tuple[Refusal, ...]


def centre_step(
    state: Parcel | None,
    parcels: Sequence[Parcel],
    *,
    key: SiteKey,
    name: str = "centre",
    strength: float = STRENGTH,
    trust: Mapping[str, str] | None = None,
    least: int = 2,
) -> Step:
    """Combine the sites' files of a round.

    A file that does not count stops no other: it is refused by its sender's name.

    Args:
        state: that was sent to the sites; None: the files are of round 0.
        parcels: of the sites.
        key: of the centre, which must have signed the state.
        name: of the centre.
        strength: of the head's penalty, in round 0; later the state's own counts.
        trust: public key by site; None: any.
        least: how many sites there must be left.

    Raises:
        DataError: the state is not this centre's; too few sites are left; one class only over all of them.
    """
    if state is not None and state.head.key != key.public:
        raise DataError("the state was signed with another key than the centre's", remedy="give the centre's own file")
    models = [each.head.model for each in parcels]
    model = state.head.model if state is not None else max(models, key=models.count, default="")
    held = None if state is None else LinearHead.from_arrays(state.arrays)
    good, refused = accepted(
        parcels, round_=0 if state is None else state.head.round, base="" if state is None else state.digest,
        model=model, shapes=None if held is None else _shapes(len(held.weight)), trust=trust,
    )  # fmt: skip
    balances = [each.head.facts.get("balance") for each in good]
    balance = state.head.facts["balance"] if state is not None else max(balances, key=balances.count, default="groups")
    refused += [Refusal(p.head.sender, f"weighs its cells otherwise than {balance!r}")
                for p, own in zip(good, balances, strict=True) if own != balance]  # fmt: skip
    good = [p for p, own in zip(good, balances, strict=True) if own == balance]
    if len(good) < least:
        why = "".join(f"; {each.site} {each.why}" for each in refused)
        raise DataError(f"{len(good)} sites are left of {least} that are needed{why}", remedy="wait for others, or ask")
    sites = tuple(each.head.sender for each in good)
    if state is not None:
        told = state.head.facts["strength"]
        strength = float(told) if isinstance(told, float) else strength
    head = combine_heads(
        held, [LocalRound(p.arrays, p.head.patients, {}) for p in good], strength=strength,
        same_sites=state is not None and state.head.facts.get("sites") == sites,
    )  # fmt: skip
    made = Parcel.of(
        head.to_arrays(), key, kind="state", sender=name, round=1 if state is None else state.head.round + 1,
        base="" if state is None else state.digest, model=model,
        cells=sum(p.head.cells for p in good), patients=sum(p.head.patients for p in good),
        facts={"strength": float(strength), "balance": str(balance), "sites": sites, "done": head.done,
               "blasts": sum(float(str(p.head.facts.get("blasts", 0))) for p in good)},
    )  # fmt: skip
    return Step(made, head, sites, tuple(refused))


def federated_bundle(bundle: Bundle, state: Parcel, graph_with: Callable[[Array, float], bytes]) -> Bundle:
    """The agreed bundle with the head that a state holds, in memory. Nothing is measured: no site's cells are here.

    Args:
        bundle: that the sites have agreed on.
        state: of the centre.
        graph_with: `bundle.head.GraphHead.with_linear` of that bundle.

    Raises:
        DataError: the state is of another bundle.
    """
    if state.head.model != bundle.digest:
        raise DataError(
            f"the state is of another bundle ({state.head.model[:12]}) than {bundle.facts.name} ({bundle.digest[:12]})",
            remedy="give the bundle that the sites have agreed on",
        )
    graph = graph_with(*LinearHead.from_arrays(state.arrays).plain())
    facts, told = bundle.facts, state.head.facts
    sites = told["sites"] if isinstance(told["sites"], tuple) else ()
    parent = ParentFacts(
        name=facts.name, files=dict(facts.files), data=f"{len(sites)} laboratories ({', '.join(sites)})",
        cells=state.head.cells, blasts=int(float(str(told["blasts"]))), units=[], by_patient=True,
        strength=float(str(told["strength"])), trust=0.0, before={}, after={}, gain={}, forced=False,
    )  # fmt: skip
    rule = DecisionFacts(threshold=0.5, no_refer="no cell of the laboratories is here to set a band on")
    return bundle.with_facts(graph=graph, decision=rule, name=f"{facts.name}-federated", parent=parent)


def _shapes(size: int) -> dict[str, tuple[int, ...]]:
    return {"count": (2,), "loss": (2,), "slope": (2, size + 1), "curve": (2, size + 1, size + 1)}
