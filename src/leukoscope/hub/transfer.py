"""A bundle to a hub in one commit, and back: into a folder of its own, checked, and only then in its place."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from leukoscope.bundle.bundle import Bundle
from leukoscope.bundle.read import read_bundle
from leukoscope.bundle.schema import CARD_FILE, FACTS_FILE
from leukoscope.bundle.signature import SIGNATURES_FILE, read_trusted
from leukoscope.errors import BundleError, LeukoscopeError, optional
from leukoscope.files import atomic_folder
from leukoscope.hub.card import LIBRARY, hub_card

FOLDER: Final = "bundle"  # in the repository; the card above it is the hub's, with its header
_DEFAULT: Final = "https://huggingface.co"


class HubError(LeukoscopeError):
    """A hub cannot be reached, has no such thing, or does not let us."""


def push_bundle(path: Path, repo: str, *, revision: str | None = None, private: bool = False) -> tuple[Bundle, str]:
    """Give a bundle to a repository of a hub, which is made if absent; what lay in its place is replaced in one commit.

    Args:
        path: of the bundle.
        repo: OWNER/NAME.
        revision: branch to commit to; the main one by default.
        private: whether a repository that is made is shown to its owner alone.

    Returns:
        The bundle, and the address of the commit.

    Raises:
        BundleError: there is none, or it is damaged.
        HubError: the hub cannot be reached, or refuses.
        MissingExtraError: the extra `hub` is not installed.
    """
    api, bundle = _api(), read_bundle(path)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / FOLDER).mkdir()
        for name in (FACTS_FILE, *bundle.facts.files, SIGNATURES_FILE):
            if (bundle.folder / name).is_file():
                shutil.copyfile(bundle.folder / name, place / FOLDER / name)
        read_bundle(place / FOLDER)  # it may have been replaced meanwhile
        own = bundle.folder / CARD_FILE
        card = own.read_text(encoding="utf-8") if own.is_file() else f"# {bundle.facts.name}\n"
        (place / CARD_FILE).write_text(hub_card(bundle, card), encoding="utf-8")
        with _hub(api, repo, revision):
            api.create_repo(repo, exist_ok=True, private=private or None)
            done = api.upload_folder(
                repo_id=repo, folder_path=place, revision=revision, delete_patterns=f"{FOLDER}/*",
                commit_message=f"{bundle.facts.name}, digest {bundle.digest[:16]}",
            )  # fmt: skip
    return bundle, str(done.commit_url)


def pull_bundle(
    repo: str, out: Path, *, revision: str | None = None, trust: Iterable[str] = (), replace: bool = False
) -> Bundle:
    """Fetch a bundle from a repository of a hub; ``out`` is it, whole and checked, or what it was before.

    Args:
        repo: OWNER/NAME.
        out: folder for it.
        revision: branch, tag or commit; the main branch by default.
        trust: public keys, one of which must have signed it; see `leukoscope.bundle.signature.read_trusted`.
        replace: whether another bundle in ``out`` may be replaced.

    Raises:
        HubError: the hub cannot be reached, or has no such repository or revision.
        BundleError: what it has is no bundle, is damaged or altered, or is not signed so.
        LeukoscopeError: ``out`` holds something else, or cannot be written.
        MissingExtraError: the extra `hub` is not installed.
    """
    api = _api()
    with tempfile.TemporaryDirectory() as temporary:
        with _hub(api, repo, revision):
            fetched = api.snapshot_download(repo, revision=revision, cache_dir=temporary, allow_patterns=f"{FOLDER}/*")
        found = Path(fetched) / FOLDER
        if not (found / FACTS_FILE).is_file():
            raise BundleError(
                f"{_named(repo, revision)} holds no bundle",
                remedy=f"one lies in {FOLDER}/, as `leukoscope push` writes",
            )
        try:
            bundle = read_trusted(found, trust)
        except BundleError as error:
            raise BundleError(f"what {_named(repo, revision)} holds: {error.what}", remedy=error.remedy) from error
        if _is_there(bundle, out, replace=replace):
            return read_bundle(out)
        with atomic_folder(out) as place:
            for name in (FACTS_FILE, *bundle.facts.files, SIGNATURES_FILE):
                if (found / name).is_file():
                    shutil.copyfile(found / name, place / name)
    return read_bundle(out)


def _is_there(bundle: Bundle, out: Path, *, replace: bool) -> bool:
    """Whether a folder is this bundle already.

    Raises:
        LeukoscopeError: it holds something else, which would be replaced.
    """
    if replace or not out.exists() or not any(out.iterdir()):
        return False
    try:
        there = read_bundle(out)
    except LeukoscopeError as error:
        raise LeukoscopeError("holds something that is no bundle", path=out, remedy="choose another --out") from error
    if there.digest == bundle.digest:
        return True
    raise LeukoscopeError(
        f"holds another bundle ({there.facts.name}, digest {there.digest[:16]})", path=out,
        remedy="choose another --out, or --replace it",
    )  # fmt: skip


def _api() -> Any:
    library = optional("huggingface_hub", "giving bundles to a hub and taking them", "hub")
    talk = optional("huggingface_hub.utils", "giving bundles to a hub and taking them", "hub")
    talk.logging.set_verbosity(logging.CRITICAL)  # what goes wrong is told once, by us
    if not sys.stderr.isatty():
        talk.disable_progress_bars()
    return library.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or _DEFAULT, library_name=LIBRARY)


def _named(repo: str, revision: str | None) -> str:
    return repo if revision is None else f"{repo} at {revision}"


@contextmanager
def _hub(api: Any, repo: str, revision: str | None) -> Iterator[None]:
    """What the hub's library raises, in one line of ours."""
    errors = optional("huggingface_hub.errors", "giving bundles to a hub and taking them", "hub")
    try:
        yield
    except errors.HFValidationError as error:
        raise HubError(f"{repo!r} is no repository's name", remedy="give OWNER/NAME") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{repo} has no revision {revision!r}", remedy="give a branch, a tag or a commit of it"
        ) from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{repo} is gated", remedy="ask for access on its page, and log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{api.endpoint} has no repository {repo}, or does not show it to you",
            remedy="check its name, or log in with `hf auth login`",
        ) from error
    except errors.HfHubHTTPError as error:
        code = getattr(error.response, "status_code", None)
        remedy = "log in with `hf auth login`" if code in {401, 403} else "try again later"
        raise HubError(f"{api.endpoint} refuses ({_first_line(error)})", remedy=remedy) from error
    except Exception as error:  # the library lets through what its own network library raises
        if isinstance(error, OSError) and error.filename is not None:
            raise  # a disk's
        raise HubError(
            f"{api.endpoint} cannot be reached, or broke off ({_first_line(error)})",
            remedy="check the network, or HF_ENDPOINT; nothing was left half-way",
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0].strip() if lines else type(error).__name__)[:200]
