"""Orthanc with its DICOMweb plug-in, as Debian has it, started on loopback for the tests of one module."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def missing() -> str | None:
    """Why there is no Orthanc here; None where there is."""
    if shutil.which("Orthanc") is None:
        return "Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)"
    return None if PLUGIN.exists() else "Orthanc's DICOMweb plug-in is not installed (apt-get install orthanc-dicomweb)"


@contextmanager
def orthanc(folder: Path, *, password: str | None = None) -> Iterator[str]:
    """A running server with an empty store; gives the address of its DICOMweb."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "Name": "tests", "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "HttpPort": port, "RemoteAccessAllowed": False, "DicomServerEnabled": False, "Plugins": [str(PLUGIN)],
        "AuthenticationEnabled": password is not None, "RegisteredUsers": {"reader": password or "none"},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "OverwriteInstances": True,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "log.txt").open("wb")
    server = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 120
        while not _answers(address):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log.txt").read_text()[-3000:])
            time.sleep(0.1)
        yield address + "dicom-web"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address + "system", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
