"""What machine a figure was made on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """Model name of the processor, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> str:
    """One line such as ``2 x AMD EPYC, Linux x86_64, Python 3.11.7``."""
    return f"{cpu_count()} x {cpu_name()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def busy() -> str | None:
    """How busy the machine has been in the last minute: times depend on it. None where the system does not tell."""
    return f"{os.getloadavg()[0]:.1f} processes on average in the minute before" if hasattr(os, "getloadavg") else None
