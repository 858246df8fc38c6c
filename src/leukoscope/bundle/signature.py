"""Who vouches for a bundle: Ed25519 signatures of its digest, in a file beside it.

The digest is of all that the bundle is (`Bundle.digest`), so that no byte of it changes unnoticed; a bundle that is
written anew, as by `calibrate`, is another one and has to be signed again. Needs the extra `federation`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from leukoscope.bundle.read import Bundle, place_of, read_bundle
from leukoscope.errors import BundleError, DataError
from leukoscope.files import write_text
from leukoscope.keys import SiteKey, checked_signature

SIGNATURES_FILE: Final = "signatures.txt"  # a line for each: public key and signature, hexadecimal
TRUST_VARIABLE: Final = "LEUKOSCOPE_TRUST"
_MARK: Final = "leukoscope bundle"
_KEY: Final = re.compile(r"[0-9a-f]{64}")


def sign_bundle(folder: Path, key: SiteKey) -> Bundle:
    """Sign a bundle, beside what others signed; a second signature by one key takes the place of the first.

    Raises:
        BundleError: there is none, or it is damaged.
        LeukoscopeError: the folder cannot be written.
    """
    bundle = read_bundle(folder)
    place_of(folder, bundle)  # what comes with the package stays as it is
    signatures = _signatures(bundle) | {key.public: key.sign(_signed(bundle))}
    write_text(bundle.folder / SIGNATURES_FILE, "".join(f"{by} {what}\n" for by, what in sorted(signatures.items())))
    return bundle


def check_signed(bundle: Bundle, trusted: Iterable[str]) -> str:
    """The trusted key that a bundle is signed with.

    Args:
        bundle: as it was read.
        trusted: public keys, hexadecimal, or files with one in each line; what follows `#` is a remark.

    Raises:
        BundleError: it is not signed by any of them, or was altered since.
        DataError: a key is none.
    """
    found, keys = _signatures(bundle), set(_keys(trusted))
    altered = False
    for key in sorted(keys & found.keys()):
        if checked_signature(key, found[key], _signed(bundle)):
            return key
        altered = True
    if altered:
        raise BundleError(
            "was altered after it was signed", path=bundle.folder, remedy="fetch it again, or sign it if you trust it"
        )
    by = f"it is signed by {', '.join(key[:16] for key in sorted(found))}" if found else "it is not signed"
    raise BundleError(
        f"no key that is trusted here has signed this bundle ({by})", path=bundle.folder,
        remedy="sign it with `leukoscope sign`, or trust the key that did",
    )  # fmt: skip


def read_trusted(path: str | os.PathLike[str], trusted: Iterable[str] = ()) -> Bundle:
    """Read a bundle, which must be signed with one of these keys, or of those that are trusted here, if there are any.

    Raises:
        BundleError: it is missing, damaged, not ours, or not signed so.
        DataError: a key is none.
    """
    bundle = read_bundle(path)
    if keys := [*trusted] or trusted_here():
        check_signed(bundle, keys)
    return bundle


def trusted_here() -> list[str]:
    """Keys and files that the environment names, parted as paths are in `PATH`."""
    return [word for word in os.environ.get(TRUST_VARIABLE, "").split(os.pathsep) if word]


def _signed(bundle: Bundle) -> bytes:
    return f"{_MARK}\n{bundle.digest}\n".encode("ascii")


def _signatures(bundle: Bundle) -> dict[str, str]:
    try:
        text = (bundle.folder / SIGNATURES_FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot be read ({error})", path=bundle.folder / SIGNATURES_FILE) from error
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _keys(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if _KEY.fullmatch(word):
            yield word
            continue
        try:
            lines = Path(word).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise DataError(
                f"is no public key, and cannot be read as a file of keys ({error})", path=word,
                remedy="give what `leukoscope federate key` printed",
            ) from error  # fmt: skip
        for line in lines:
            key = line.partition("#")[0].strip()
            if key and not _KEY.fullmatch(key):
                raise DataError(f"holds {key[:20]!r}, which is no public key", path=word)
            if key:
                yield key
