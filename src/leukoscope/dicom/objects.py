"""Our answers as DICOM objects, and read back: annotations of cells, statements on patients, printed reports.

Microscopy Bulk Simple Annotations hold the cells' polygons; Comprehensive 3D SR (TID 1500) the statement. What the
machine says and what a reader says are objects of their own, and each names who made it. By highdicom.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leukoscope._version import __version__
from leukoscope.cells.dicom import WHOLE_SLIDE
from leukoscope.dicom.codes import FIGURES, MAKER, RESEARCH, SCHEME, SHARES, STATEMENTS, known, label_code, own, uid_of
from leukoscope.dicom.headers import Header
from leukoscope.errors import DataError, optional
from leukoscope.text import RESEARCH_USE

_PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
_NUMBER: Final = ("number", "Number of the cell in its picture")
_DIAMETER: Final = ("diameter", "Diameter of the disc of the cell's area")
_LOGIT: Final = ("logit", "Logit of blast")


@dataclass(frozen=True, slots=True)
class Machine:
    """The model that answered.

    Attributes:
        model: the bundle's name.
        digest: of the bundle, SHA-256.
        threshold: probability from which a cell is called blast.
    """

    model: str
    digest: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Reader:
    """A person who looked.

    Attributes:
        name: as it shall stand in the object.
    """

    name: str


Maker = Machine | Reader


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedCell:
    """One cell in an annotation.

    Attributes:
        number: in its picture, from 1.
        label: what it was called.
        outline: float64 [N, 2], x and y in pixels of the picture.
        probability: of blast; None where the model was not asked, or a reader called it.
        logit: likewise.
        diameter_um: None where unknown.
    """

    number: int
    label: str
    outline: NDArray[np.float64]
    probability: float | None = None
    logit: float | None = None
    diameter_um: float | None = None


def cell_annotations(header: Header, frame: int, cells: Sequence[AnnotatedCell], maker: Maker) -> Any:
    """The cells of one picture as polygons, a group for each label.

    Args:
        header: of the instance that holds the picture.
        frame: from 1; of a level of a whole slide 1, and its cells lie in pixels of the whole level.
        cells: at least one.
        maker: who called them.

    Returns:
        A `pydicom.Dataset`.
    """
    ann = optional("highdicom.ann", "DICOM", "dicom")
    machine = isinstance(maker, Machine)
    source = header.dataset
    slide = str(source.SOPClassUID) == WHOLE_SLIDE
    unique = (str(source.SOPInstanceUID), str(frame), _who(maker))
    groups = []
    for number, label in enumerate(sorted({cell.label for cell in cells}), 1):
        some = [cell for cell in cells if cell.label == label]
        measured: list[tuple[Any, list[float | None], Any]] = [
            (own(*_NUMBER), [float(cell.number) for cell in some], known("UCUM.NoUnits")),
            (known("DCM.Probability"), [cell.probability for cell in some], known("UCUM.NoUnits")),
            (own(*_LOGIT), [cell.logit for cell in some], known("UCUM.NoUnits")),
            (own(*_DIAMETER), [cell.diameter_um for cell in some], known("UCUM.Micrometer")),
        ]
        groups.append(
            ann.AnnotationGroup(
                number=number, uid=uid_of("group", *unique, label), label=label,
                annotated_property_category=known("SCT.AnatomicalStructure"),
                annotated_property_type=label_code(label, machine=machine),
                graphic_type=ann.GraphicTypeValues.POLYGON,
                graphic_data=[np.asarray(cell.outline, np.float64) for cell in some],
                algorithm_type="AUTOMATIC" if machine else "MANUAL", algorithm_identification=_algorithm(maker),
                measurements=[
                    ann.Measurements(name, np.array([math.nan if v is None else v for v in values]), unit)
                    for name, values, unit in measured if any(value is not None for value in values)
                ],
            )
        )  # fmt: skip
    made = ann.MicroscopyBulkSimpleAnnotations(
        source_images=[source], annotation_coordinate_type="2D", annotation_groups=groups,
        pixel_origin_interpretation="VOLUME" if slide else "FRAME", series_number=9001,
        series_instance_uid=_series(source, "ANN", maker),
        sop_instance_uid=uid_of("ann", *unique), instance_number=frame, content_label=RESEARCH,
        content_description=RESEARCH_USE[:64], content_creator_name=None if machine else _who(maker),
        **_equipment(),
    )  # fmt: skip
    if int(source.get("NumberOfFrames") or 1) > 1 and not slide:
        made.ReferencedImageSequence[0].ReferencedFrameNumber = frame
    return made


def read_annotations(dataset: Any) -> list[AnnotatedCell]:
    """The cells of an annotation that `cell_annotations` made, by number."""
    ann = optional("highdicom.ann", "DICOM", "dicom")
    found = []
    whole = ann.MicroscopyBulkSimpleAnnotations.from_dataset(dataset)
    for group in whole.AnnotationGroupSequence:
        outlines = group.get_graphic_data(coordinate_type=dataset.AnnotationCoordinateType)
        names, values, _ = group.get_measurements()
        table = {name.value: values[:, column] for column, name in enumerate(names)}
        for row, outline in enumerate(outlines):
            numbers = {name: _some(column[row]) for name, column in table.items()}
            number = int(numbers.get(_NUMBER[0]) or row + 1)
            called = numbers.get(known("DCM.Probability").value), numbers.get(_LOGIT[0]), numbers.get(_DIAMETER[0])
            found.append(
                AnnotatedCell(number, str(group.AnnotationGroupLabel), np.asarray(outline, np.float64), *called)
            )
    return sorted(found, key=lambda cell: cell.number)


def statement_report(
    headers: Sequence[Header], figures: Mapping[str, float], words: str, maker: Maker, *, statement: str | None = None
) -> Any:
    """What is said of one patient, as a report of measurements.

    Args:
        headers: of the instances that it rests on, of one patient.
        figures: numbers by `codes.FIGURES`; of a reader, cells by label.
        words: the statement in sentences.
        maker: whose statement it is.
        statement: one of `codes.STATEMENTS`; None of a reader, who states counts.

    Returns:
        A `pydicom.Dataset`.
    """
    sr = optional("highdicom.sr", "DICOM", "dicom")
    machine = isinstance(maker, Machine)
    sources = [header.dataset for header in headers]
    unique = ("sr", str(sources[0].StudyInstanceUID), headers[0].patient, _who(maker))
    measurements = [
        sr.Measurement(
            name=own(name, FIGURES[name]) if machine else label_code(name, machine=False),
            value=100 * value if name in SHARES and machine else value,
            unit=known("UCUM.Percent") if name in SHARES and machine else _cells(),
        )
        for name, value in figures.items()
    ]
    said = [] if statement is None else [
        sr.QualitativeEvaluation(own("statement", "Statement on the patient"), own(statement, STATEMENTS[statement]))
    ]  # fmt: skip
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid_of("group", *unique), identifier="White cells of the smear"),
        algorithm_id=_sr_algorithm(maker), measurements=measurements, qualitative_evaluations=said,
        source_images=[sr.SourceImageForMeasurementGroup(each.SOPClassUID, each.SOPInstanceUID) for each in sources],
    )  # fmt: skip
    contains = sr.RelationshipTypeValues.CONTAINS
    group[0].ContentSequence.append(
        sr.TextContentItem(name=known("DCM.Comment"), value=words, relationship_type=contains)
    )
    if machine:
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=uid_of("device", _who(maker)), name=MAKER, manufacturer_name=MAKER, model_name=_who(maker)[:64]
        )
        context = sr.ObservationContext(observer_device_context=sr.ObserverContext(known("DCM.Device"), device))
    else:
        person = sr.PersonObserverIdentifyingAttributes(name=_who(maker))
        context = sr.ObservationContext(observer_person_context=sr.ObserverContext(known("DCM.Person"), person))
    report = sr.MeasurementReport(
        observation_context=context, imaging_measurements=[group],
        procedure_reported=own("smear review", "Review of a blood smear; research use only"),
    )  # fmt: skip
    return sr.Comprehensive3DSR(
        evidence=sources, content=report[0], series_instance_uid=_series(sources[0], "SR", maker), series_number=9002,
        sop_instance_uid=uid_of(*unique), instance_number=1, manufacturer=MAKER, is_complete=True, is_final=False,
    )  # fmt: skip


def read_report(dataset: Any) -> dict[str, Any]:
    """What a report that `statement_report` made says: maker, figures, statement, words, instances."""
    sr = optional("highdicom.sr", "DICOM", "dicom")
    content = sr.Comprehensive3DSR.from_dataset(dataset).content
    (group,) = content.get_image_measurement_groups()
    figures = {}
    for each in group.get_measurements():
        share = each.unit.value == known("UCUM.Percent").value
        figures[str(each.name.value)] = each.value / 100 if share else each.value
    said = [
        str(each.value.value)
        for each in group.get_qualitative_evaluations()
        if each.name.scheme_designator == SCHEME  # highdicom gives the algorithm's family here too
    ]
    (observer,) = content.get_observer_contexts()
    person = observer.observer_type.value == known("DCM.Person").value
    attributes = observer.observer_identifying_attributes
    texts = [
        str(item.TextValue)
        for item in group[0].ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == known("DCM.Comment").value
    ]
    return {
        "maker": "reader" if person else "machine",
        "name": str(attributes.name if person else attributes.model_name).rstrip("^"),
        "figures": figures,
        "statement": said[0] if said else None,
        "words": texts[0] if texts else "",
        "instances": sorted(str(each.referenced_sop_instance_uid) for each in group.source_images),
    }


def printed_report(header: Header, content: bytes, title: str) -> Any:
    """A PDF as an object of the patient's study.

    Raises:
        DataError: the bytes are no PDF.
    """
    if not content.startswith(b"%PDF"):
        raise DataError("is no PDF", path=title, remedy="give a PDF")
    pydicom = optional("pydicom", "DICOM", "dicom")
    uid = optional("pydicom.uid", "DICOM", "dicom")
    source, made, now = header.dataset, pydicom.Dataset(), dt.datetime.now().astimezone()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    for keyword in (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
        "StudyID", "AccessionNumber", "ReferringPhysicianName",
    ):  # fmt: skip
        setattr(made, keyword, source.get(keyword) or "")
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = _PDF
    made.SOPInstanceUID = uid_of("pdf", str(source.StudyInstanceUID), content.hex())
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.SeriesInstanceUID = uid_of("pdf", str(source.StudyInstanceUID))
    made.Modality, made.ConversionType, made.SeriesNumber, made.InstanceNumber = "DOC", "WSD", 9003, 1
    made.Manufacturer, made.SoftwareVersions = MAKER, __version__
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.AcquisitionDateTime, made.BurnedInAnnotation = "", "YES"
    made.DocumentTitle, made.ConceptNameCodeSequence = title[:64], []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(content)
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return made


def _who(maker: Maker) -> str:
    """In one line; of a person as DICOM wants names: a single word with a caret behind it."""
    if isinstance(maker, Machine):
        return f"{maker.model} {maker.digest[:12]}"
    return maker.name if "^" in maker.name else f"{maker.name}^"


def _series(source: Any, kind: str, maker: Maker) -> str:
    return uid_of("series", str(source.StudyInstanceUID), kind, _who(maker))


def _equipment() -> dict[str, str]:
    return {
        "manufacturer": MAKER, "manufacturer_model_name": MAKER, "software_versions": __version__,
        "device_serial_number": "none",
    }  # fmt: skip


def _parameters(maker: Machine) -> dict[str, str]:
    return {"bundle": maker.digest, "threshold": f"{maker.threshold:.6g}"}


def _algorithm(maker: Maker) -> Any:
    if isinstance(maker, Reader):
        return None
    return optional("highdicom", "DICOM", "dicom").AlgorithmIdentificationSequence(
        name=maker.model, family=known("DCM.ArtificialIntelligence"), version=__version__, source=MAKER,
        parameters=_parameters(maker),
    )  # fmt: skip


def _sr_algorithm(maker: Maker) -> Any:
    if isinstance(maker, Reader):
        return None
    return optional("highdicom.sr", "DICOM", "dicom").AlgorithmIdentification(
        name=maker.model, version=__version__, family=known("DCM.ArtificialIntelligence"), manufacturer=MAKER,
        parameters=[f"{name}={value}" for name, value in _parameters(maker).items()],
    )  # fmt: skip


def _cells() -> Any:
    return optional("pydicom.sr.coding", "DICOM", "dicom").Code("{counts}", "UCUM", "counts")


def _some(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
