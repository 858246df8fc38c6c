"""Which summaries may be pooled: of one bundle, in the same bins, each site and each patient once, by trusted keys."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from leukoscope.errors import DataError
from leukoscope.federation.summary import SiteSummary


def trusted_keys(trust: Sequence[str]) -> dict[str, str] | None:
    """Public key by site, each given as ``SITE=KEY``; None: none is given, and all are taken.

    Raises:
        DataError: a text that is no such pair.
    """
    pairs = [each.partition("=") for each in trust]
    if wrong := [site for site, equals, _ in pairs if not equals]:
        raise DataError(f"{wrong[0]!r} is no SITE=KEY", remedy="give the line that `federate key` printed at the site")
    return {site: key.strip().lower() for site, _, key in pairs} or None


def check_trust(summaries: Sequence[SiteSummary], trust: Sequence[str]) -> None:
    """Hold the sites' keys against those that are trusted, each given as ``SITE=KEY``; none given: all are taken.

    Raises:
        DataError: a site without a trusted key, or with another; a text that is no such pair.
    """
    keys = trusted_keys(trust) or {}
    for summary in summaries if keys else ():
        if keys.get(summary.site) != summary.key:
            what = (
                "has no trusted key" if summary.site not in keys else "is signed with another key than the trusted one"
            )
            raise DataError(f"the summary of {summary.site} {what}", remedy="ask the site, and check --trust")


def check_alike(summaries: Sequence[SiteSummary]) -> None:
    """Refuse summaries that do not belong together.

    Raises:
        DataError: no summary; summaries of different bundles or bins; one site, one key or one data set twice; a
            patient counted at two sites.
    """
    if not summaries:
        raise DataError("no summary is given", remedy="give the files of two sites or more")
    first = summaries[0]
    for other in summaries[1:]:
        if other.digest != first.digest:
            raise DataError(
                f"{other.site} measured another bundle ({other.bundle}, {other.digest[:12]}) than {first.site} "
                f"({first.bundle}, {first.digest[:12]})", remedy="let all sites measure the same bundle",
            )  # fmt: skip
        if other.edges != first.edges:
            raise DataError(
                f"{other.site} and {first.site} counted in different bins", remedy="let both use the same --bins"
            )
    for what, values in (
        ("name", [summary.site for summary in summaries]),
        ("key", [summary.key for summary in summaries]),
        ("data set (by its fingerprint)", [summary.data for summary in summaries]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1 and value]
        if twice:
            raise DataError(
                f"two summaries have the same {what}: {twice[0][:40]}", remedy="give each site once, its newest file"
            )
    homes: dict[str, set[str]] = defaultdict(set)
    for summary in summaries:
        for digest in (digest for group in summary.groups for digest in group.digests):
            homes[digest].add(summary.site)
    shared = [sites for sites in homes.values() if len(sites) > 1]
    if shared:
        raise DataError(
            f"{len(shared)} patients are counted at two sites ({' and '.join(sorted(shared[0]))})",
            remedy="let one of the sites leave them out: they would count twice",
        )
