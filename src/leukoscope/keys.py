"""A laboratory's key: an Ed25519 pair (RFC 8032), of which the public half makes the laboratory known.

Needs the extra `federation`, and that only where something is signed or checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leukoscope.errors import DataError, optional
from leukoscope.files import atomic_path

_MARK = b"leukoscope site key\n"


def _ed25519() -> Any:
    return optional("cryptography.hazmat.primitives.asymmetric.ed25519", "signing", "federation")


@dataclass(frozen=True, slots=True)
class SiteKey:
    """The private half, 32 bytes."""

    private: bytes

    @property
    def public(self) -> str:
        """The public half, hexadecimal."""
        key = _ed25519().Ed25519PrivateKey.from_private_bytes(self.private)
        return str(key.public_key().public_bytes_raw().hex())

    def sign(self, content: bytes) -> str:
        """Signature of the content, hexadecimal."""
        return str(_ed25519().Ed25519PrivateKey.from_private_bytes(self.private).sign(content).hex())


def new_key(path: Path) -> SiteKey:
    """Make a key and write it into a file that only its owner can read.

    Raises:
        DataError: the file is there already.
        LeukoscopeError: it cannot be written.
    """
    if path.exists():
        raise DataError("is there already", path=path, remedy="choose another --key, or use this one")
    key = SiteKey(os.urandom(32))
    with atomic_path(path, mode=0o600) as temporary:
        temporary.write_bytes(_MARK + key.private.hex().encode() + b"\n")
    return key


def read_key(path: Path) -> SiteKey:
    """Read a key.

    Raises:
        DataError: the file is missing or holds no key.
    """
    try:
        content = path.read_bytes()
        private = bytes.fromhex(content.removeprefix(_MARK).decode("ascii").strip())
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", path=path, remedy="make one with `leukoscope federate key`"
        ) from error
    except ValueError as error:
        raise _no_key(path) from error
    if len(private) != 32 or not content.startswith(_MARK):
        raise _no_key(path)
    return SiteKey(private)


def _no_key(path: Path) -> DataError:
    return DataError("holds no site key", path=path, remedy="make one with `leukoscope federate key`")


def checked_signature(public: str, signature: str, content: bytes) -> bool:
    """Whether the content was signed with the other half of a public key; hexadecimal, false where one is none."""
    try:
        key = _ed25519().Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), content)
    except ValueError:
        return False
    except optional("cryptography.exceptions", "signing", "federation").InvalidSignature:
        return False
    return True
