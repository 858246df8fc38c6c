"""A DICOMweb server: searched (QIDO), read instance by instance (WADO), and written to (STOW), by dicomweb-client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from leukoscope.errors import LeukoscopeError, optional

HEADER_VARIABLE: Final = "LEUKOSCOPE_DICOMWEB_HEADER"
PICTURES: Final = {
    "1.2.840.10008.5.1.4.1.1.77.1.2": "VL Microscopic",
    "1.2.840.10008.5.1.4.1.1.77.1.3": "VL Slide-Coordinates Microscopic",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "VL Whole Slide Microscopy",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture",
}
_PAGE = 200  # instances asked for at a time
STORED: Final = 20  # instances sent at a time
_TIMEOUT = 60.0  # seconds that a server may be silent


def is_address(text: str) -> bool:
    """Whether a source or target is a server and not a folder."""
    return text.startswith(("http://", "https://"))


class DicomWeb:
    """One server.

    Args:
        address: such as `http://127.0.0.1:8042/dicom-web`. A header for authorization is taken from the environment
            variable `LEUKOSCOPE_DICOMWEB_HEADER`, as `Authorization: Bearer ...`: command lines are seen by others.

    Raises:
        LeukoscopeError: the client is not installed, or the header is none.
    """

    def __init__(self, address: str) -> None:
        web = optional("dicomweb_client", "DICOMweb", "dicom")
        self._requests = optional("requests", "DICOMweb", "dicom")
        self.address = address
        told = os.environ.get(HEADER_VARIABLE, "")
        name, colon, value = told.partition(":")
        if told and not colon:
            raise LeukoscopeError(f"{HEADER_VARIABLE} is no header", remedy="set it to `Name: value`")
        headers = {name.strip(): value.strip()} if told else None
        self._client = web.DICOMwebClient(address, headers=headers, timeout=_TIMEOUT)
        self._client.set_http_retry_params(retry=True, max_attempts=3, wait_exponential_multiplier=200)

    def search(self, filters: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
        """Study, series and instance of each picture that matches, a page at a time.

        Args:
            filters: values by keyword, such as `PatientID`; empty: all.

        Raises:
            LeukoscopeError: the server does not answer, or refuses.
        """
        offset = 0
        while True:
            found = self._asked(
                self._client.search_for_instances, limit=_PAGE, offset=offset, search_filters=dict(filters),
                fields=["SOPClassUID"],
            )  # fmt: skip
            for entry in found:
                if _value(entry, "00080016") in PICTURES:
                    yield _value(entry, "0020000D"), _value(entry, "0020000E"), _value(entry, "00080018")
            offset += len(found)
            if len(found) < _PAGE:
                return

    def instance(self, study: str, series: str, instance: str) -> Any:
        """One instance as a `pydicom.Dataset`.

        Raises:
            LeukoscopeError: the server does not answer, refuses, or sends what is no DICOM.
        """
        return self._asked(self._client.retrieve_instance, study, series, instance)

    def store(self, datasets: Sequence[Any]) -> None:
        """Store up to `STORED` instances; of those that are there already, the server decides which to keep.

        Raises:
            LeukoscopeError: the server does not answer, or refuses one.
        """
        for each in datasets:
            each.preamble = bytes(128)  # else the client sends what is no file, and servers keep it so
        failed: Sequence[Any] = self._asked(self._client.store_instances, datasets).get("FailedSOPSequence") or ()
        if len(failed):
            reason = failed[0].get("FailureReason")
            raise LeukoscopeError(
                f"refused {len(failed)} objects (reason {reason})", path=self.address,
                remedy="look into the server's log",
            )  # fmt: skip

    def _asked(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except self._requests.HTTPError as error:
            status = None if error.response is None else error.response.status_code
            remedy = f"set {HEADER_VARIABLE}" if status in (401, 403) else "check the address and what is asked for"
            raise LeukoscopeError(f"answers with HTTP {status}", path=self.address, remedy=remedy) from error
        except (self._requests.RequestException, OSError) as error:
            why = type(error).__name__
            raise LeukoscopeError(
                f"does not answer ({why})", path=self.address, remedy="check that the server runs, and its address"
            ) from error
        except Exception as error:  # pydicom raises nearly any built-in error on damaged data
            raise LeukoscopeError(
                f"sent what is no DICOM ({type(error).__name__}: {error})",
                path=self.address,
                remedy="check that the address is that of DICOMweb",
            ) from error


def _value(entry: Mapping[str, Any], tag: str) -> str:
    values = entry.get(tag, {}).get("Value") or [""]
    return str(values[0])
