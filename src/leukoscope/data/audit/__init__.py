"""The leak audit: pictures of one physical cell that stand under two names, two subjects or two labels."""

from leukoscope.data.audit.engine import audit
from leukoscope.data.audit.grouping import RULE, SubjectPair
from leukoscope.data.audit.links import Kind, Link, Transform
from leukoscope.data.audit.result import AuditResult, Null

__all__ = ["RULE", "AuditResult", "Kind", "Link", "Null", "SubjectPair", "Transform", "audit"]
