"""Several networks in one graph: each sees the cell in its own way, and the mean of their logits answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leukoscope.errors import ModelError
from leukoscope.models.registry import CellClassifier, create_model, register

#: A narrow `compact_cnn` twice: shown what no preparation decides, and shown the cell as it is.
TWO_VIEWS: tuple[Mapping[str, Any], ...] = (
    {"name": "compact_cnn", "arguments": {"widths": [12, 24, 48, 64]}},
    {"name": "compact_cnn", "arguments": {"widths": [12, 24, 48, 64], "standardise": False}},
)


class SideBySide(nn.Module):
    """Feature maps one after the other along the channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """Join maps, each float [N, C, h, w], to float [N, sum of C, h, w].

        Raises:
            ModelError: they differ in size.
        """
        sizes = [f"{each.shape[2]} x {each.shape[3]}" for each in maps]
        if len(set(sizes)) > 1:
            raise ModelError(f"the members' maps differ in size ({', '.join(sizes)}), so no one heat map can be drawn")
        return torch.cat(maps, 1)


@register(
    "ensemble",
    summary="several networks in one graph; by default half a compact_cnn twice, once shown the colours as they are",
    source="ours; the mean of the members' logits",
    input_size=112,
    members=TWO_VIEWS,
)
class Ensemble(CellClassifier):
    """The members' feature maps side by side, and one linear unit on all their embeddings.

    The unit of :meth:`join` is the mean of the members' own, so that the logit is the mean of their logits and the
    heat map the mean of their heat maps. The members' own units are taken off.

    Args:
        members: name and arguments of each network. Their feature maps must be of one size.

    Raises:
        ModelError: a member is unknown, or its heat map does not follow from its unit alone.
    """

    def __init__(self, members: Sequence[Mapping[str, Any]] = TWO_VIEWS) -> None:
        super().__init__()
        if not members:
            raise ModelError("an ensemble needs a member", remedy="name one: members=[{name: compact_cnn}]")
        made = []
        for each in members:
            if not isinstance(each, Mapping) or not isinstance(each.get("name"), str):
                raise ModelError(f"no member of an ensemble: {each!r}", remedy="write {name: ..., arguments: {...}}")
            made.append(create_model(each["name"], **each.get("arguments", {})))
            map_weights = made[-1].cam_weights()
            # On the meta device, where parameters are only counted, there are no numbers to compare.
            if not (map_weights.is_meta or torch.equal(map_weights, made[-1].head.weight[0])):
                raise ModelError(f"{each['name']} cannot be a member: its heat map is not that of its unit alone")
        self.channels = [len(each.cam_weights()) for each in made]
        self.head = nn.Linear(sum(each.head.in_features for each in made), 1)
        for member in made:
            del member.head
        self.members = nn.ModuleList(made)
        self.beside = SideBySide()

    @property
    def last_conv(self) -> nn.Module:
        """The members' outputs side by side, which are explained."""
        return self.beside

    def forward_features(self, x: Tensor) -> Tensor:
        """Map pictures, float [N, 3, S, S] in 0..1, to the members' feature maps, float [N, sum of C, h, w].

        Raises:
            ModelError: the members' maps differ in size.
        """
        joined: Tensor = self.beside(*(member.forward_features(x) for member in self.members))  # type: ignore[operator]
        return joined

    def embed(self, features: Tensor) -> Tensor:
        """Pool each member's maps as it does, float [N, sum of E]."""
        parts = torch.split(features, self.channels, 1)
        return torch.cat([m.embed(part) for m, part in zip(self.members, parts, strict=True)], 1)  # type: ignore[operator]

    def forward_head(self, features: Tensor) -> Tensor:
        """Logit, float [N, 1]."""
        return self.head(self.embed(features))  # type: ignore[no-any-return]

    def cam_weights(self) -> Tensor:
        """Closed form, float [sum of C]: that of the members, whose units stand side by side."""
        return self.head.weight[0]

    @torch.no_grad()
    def join(self, trained: Sequence[CellClassifier]) -> None:
        """Take over the weights of networks that were trained apart.

        Args:
            trained: one per member, built with its name and arguments, with their own units.
        """
        for member, one in zip(self.members, trained, strict=True):
            member.load_state_dict({k: v for k, v in one.state_dict().items() if not k.startswith("head.")})
        self.head.weight.copy_(torch.cat([one.head.weight for one in trained], 1) / len(trained))
        self.head.bias.copy_(torch.stack([one.head.bias for one in trained]).mean(0))
