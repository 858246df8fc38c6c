"""The leak audit: pictures of one physical cell that stand under two names, two subjects or two labels."""

from leukoscope.datasets.leaks.audit import audit
from leukoscope.datasets.leaks.links import RULE, AuditResult, Kind, Link, Null, SubjectPair, Transform

__all__ = ["RULE", "AuditResult", "Kind", "Link", "Null", "SubjectPair", "Transform", "audit"]
