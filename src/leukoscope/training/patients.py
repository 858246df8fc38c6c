"""Trials that look at the patient groups while training: distributionally robust, or blind to who a cell is of."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from leukoscope.models import CellClassifier
from leukoscope.training.source import FrameSource


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(_ctx, gradient):
        return -gradient


class Patients:
    """Weights of patient groups (GroupDRO, Sagawa et al., ICLR 2020) and an adversary (Ganin et al., JMLR 2016).

    The adversary tells the patients of one class apart, so that what it takes away is not the class.
    """

    def __init__(self, train: FrameSource, step: float, adversary: float, width: int) -> None:
        names, self.index = np.unique(train.groups, return_inverse=True)
        classes = np.array([train.labels[self.index == at][0] for at in range(len(names))])
        self.same = torch.from_numpy(classes[:, None] == classes[None, :])
        self.weights, self.step, self.adversary = torch.ones(len(names)), step, adversary
        self.classes = torch.from_numpy(classes)
        self.head = nn.Linear(width, len(names))
        self.optimizer = torch.optim.Adam(self.head.parameters(), 0.001)

    def weigh(self, batch: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Weights of the pictures of a batch, after hard groups gained; the classes keep their shares."""
        of = torch.from_numpy(self.index[batch.numpy()])
        each = F.binary_cross_entropy_with_logits(logits[:, 0].float().detach(), labels, reduction="none")
        for at in of.unique():
            self.weights[at] *= torch.exp(self.step * each[of == at].mean())
        for label in (0, 1):
            mine = self.classes == label
            self.weights[mine] /= self.weights[mine].mean()
        return self.weights[of]

    def loss(self, batch: Tensor, embedding: Tensor) -> Tensor:
        """Cross-entropy of the adversary over a batch, whose gradient comes back reversed."""
        of = torch.from_numpy(self.index[batch.numpy()])
        said = self.head(_Reverse.apply(embedding.float())).masked_fill(~self.same[of], -1e4)
        return self.adversary * F.cross_entropy(said, of)
