"""What a network starts from: weights from a file, every misfit named, or from the hub."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from leukoscope.errors import ModelError, missing_extra
from leukoscope.files import sha256_of
from leukoscope.models.backbones import Backbone
from leukoscope.models.eye import Eye
from leukoscope.models.masked import TRUNKS
from leukoscope.models.registry import CellClassifier, HubWeights, model_spec

_HEADS = ("head", "classifier", "fc", "last_linear", "AuxLogits", "aux1", "aux2")  # of other tasks: not wanted here
_COUNTER = "num_batches_tracked"  # of batch normalisation; many files leave it out, and nothing depends on it
_WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What a network starts from.

    Attributes:
        source: ``none``, ``file:NAME`` or ``hub:OWNER/NAME``.
        sha256: of the file; None without one.
        licence: of the weights, where the hub or the file states it.
        tensors: how many of the file's tensors were taken.
        left_out: names in the file that belong to another task's head.
        fresh: names in the network that the file does not hold, so that they keep their random start.
    """

    source: str
    sha256: str | None = None
    licence: str | None = None
    tensors: int = 0
    left_out: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people."""
        if self.sha256 is None:
            return "random weights"
        fresh = f", fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.source}, sha256 {self.sha256[:16]}, {self.tensors} tensors{fresh}"


def load_weights(model: CellClassifier, path: str | Path, sha256: str | None = None) -> LoadedWeights:
    """Put the weights of a file into a network, all of them or none.

    The file may be a checkpoint of the same network, or of its trunk alone, as timm or torchvision store it. Heads of
    another task are left out, and the network's own head keeps its random start where the file holds none of its shape.
    Everything else must fit, name by name and shape by shape.

    Args:
        model: is changed in place.
        path: ``.safetensors``, or ``.pth``, ``.pt`` or ``.bin`` of PyTorch, which is read without running any code.
        sha256: what the file must have, in hexadecimal.

    Raises:
        ModelError: the file is missing or damaged, has another hash, or does not fit; the message names what.
    """
    file = Path(path)
    found = _digest(file)
    if sha256 is not None and found != sha256.strip().lower():
        raise ModelError(
            f"its SHA-256 is {found}, not {sha256}", path=file, remedy="fetch the file again or correct the hash"
        )
    if isinstance(model, Eye):
        taken_count = model.trunk.load(file)
        own = tuple(key for key in model.state_dict() if not key.startswith("features.trunk."))
        published = found == TRUNKS[model.trunk.name].sha256
        licence = f"Apache-2.0, as the hub states it of timm/{model.trunk.name}.in1k" if published else None
        return LoadedWeights(f"file:{file.name}", found, _licence(file) or licence, taken_count, fresh=own)
    given = _read(file)
    wanted = model.state_dict()
    prefix = "" if not isinstance(model, Backbone) or any(k.startswith("trunk.net.") for k in given) else "trunk.net."
    given = {prefix + key: tensor for key, tensor in given.items()}
    heads = tuple(f"{prefix}{part}." for part in _HEADS)
    if isinstance(model, Backbone):
        heads += tuple(f"trunk.net.{part}." for part in model.trunk.left_out)
    _check(given, wanted, heads, file)
    taken = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    model.load_state_dict(taken, strict=False)
    return LoadedWeights(
        source=f"file:{file.name}",
        sha256=found,
        licence=_licence(file),
        tensors=len(taken),
        left_out=tuple(sorted(set(given) - set(taken))),
        fresh=tuple(k for k in wanted if k not in taken and not k.endswith(_COUNTER)),
    )


def fetch_weights(weights: HubWeights) -> Path:
    """The file of published weights, from the local cache of the hub's client or from the hub.

    Raises:
        MissingExtraError: the hub's client is not installed.
        ModelError: the hub cannot be reached or does not hold the file; the message says how to fetch it elsewhere.
    """
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("fetching weights from the hub", "backbones") from error
    try:
        return Path(hf_hub_download(weights.hub, "model.safetensors", local_files_only=True))
    except (OSError, ValueError):
        pass  # not fetched before
    try:
        return Path(hf_hub_download(weights.hub, "model.safetensors"))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ModelError(
            f"the weights {weights.hub} cannot be fetched ({type(error).__name__})",
            remedy=f"fetch {weights.url} on a machine with a connection and give it with --weights FILE, "
            "or train from scratch with --weights none",
        ) from error


def _digest(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise ModelError(
            f"cannot be read ({error.strerror or error})", path=file, remedy="give a file of weights, none or hub"
        ) from error


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        elif file.suffix in {".pth", ".pt", ".bin"}:
            state = torch.load(file, map_location="cpu", weights_only=True)
        else:
            raise ModelError(
                "not a file of weights by its name", path=file, remedy="use .safetensors, .pth, .pt or .bin"
            )
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = re.split(r"[.\n]", str(error))[0]
        raise ModelError(
            f"no weights can be read from it ({reason})", path=file, remedy="fetch it again, or save it as .safetensors"
        ) from error
    while isinstance(state, dict) and any(isinstance(state.get(wrapper), dict) for wrapper in _WRAPPERS):
        state = next(state[wrapper] for wrapper in _WRAPPERS if isinstance(state.get(wrapper), dict))
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError("holds no table of named tensors", path=file, remedy="save model.state_dict()")
    return {str(key).removeprefix("module."): tensor for key, tensor in state.items()}


def _check(given: dict[str, Tensor], wanted: dict[str, Tensor], heads: tuple[str, ...], file: Path) -> None:
    def matters(key: str) -> bool:
        return not key.startswith((*heads, "head.")) and not key.endswith(_COUNTER)

    other = [k for k in given if k in wanted and matters(k) and given[k].shape != wanted[k].shape]
    missing = [k for k in wanted if k not in given and matters(k)]
    unknown = [k for k in given if k not in wanted and matters(k)]
    faults = []
    if other:
        here, there = list(wanted[other[0]].shape), list(given[other[0]].shape)
        faults.append(f"{other[0]} is {there} where the network has {here}{_more(other)}")
    if missing:
        faults.append(f"{missing[0]} is missing{_more(missing)}")
    if unknown:
        faults.append(f"the network has no {unknown[0]}{_more(unknown)}")
    if faults:
        raise ModelError(
            f"the weights are of another network: {'; '.join(faults)}",
            path=file,
            remedy="give the weights of this very network, or the network of these weights",
        )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _licence(file: Path) -> str | None:
    if file.suffix != ".safetensors":
        return None
    with safe_open(file, framework="pt") as opened:
        return (opened.metadata() or {}).get("license")


def start_weights(model: CellClassifier, name: str, weights: str = "auto", sha256: str | None = None) -> LoadedWeights:
    """Give a network the weights that it starts from.

    Args:
        model: is changed in place.
        name: in the registry.
        weights: ``none`` leaves the random start; ``hub`` fetches the published weights; ``auto`` does that for
            networks that have some and nothing for ours; anything else is a file.
        sha256: what the file must have.

    Raises:
        ModelError: the weights cannot be had or do not fit.
        MissingExtraError: the hub's client is not installed.
    """
    published = model_spec(name).weights
    if weights == "auto":
        weights = "hub" if published else "none"
    if weights == "none":
        if sha256 is not None:
            raise ModelError("a hash was given, but no weights", remedy="give the file, too: --weights FILE")
        return LoadedWeights("none")
    if weights != "hub":
        return load_weights(model, weights, sha256)
    if published is None:
        raise ModelError(f"{name} has no published weights", remedy="use --weights none, or a file")
    loaded = load_weights(model, fetch_weights(published), sha256)
    return LoadedWeights(
        f"hub:{published.hub}", loaded.sha256, published.licence, loaded.tensors, loaded.left_out, loaded.fresh
    )


def check_size(model: CellClassifier, name: str, size: int) -> None:
    """Let a network look at one black picture.

    Raises:
        ModelError: it takes no pictures of ``size`` pixels.
    """
    was_training = model.training
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, size, size, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        spec = model_spec(name)
        # What timm asserts is the size that a network was built for; too small a picture is a RuntimeError.
        fixed = isinstance(error, AssertionError)
        rebuild = f", or build it for this size: --set model.arguments.image_size={size}" if fixed else ""
        raise ModelError(
            f"{name} takes no pictures of {size} px ({error})",
            remedy=f"use --set input.size={spec.input_size}{rebuild}",
        ) from error
    finally:
        model.train(was_training)
