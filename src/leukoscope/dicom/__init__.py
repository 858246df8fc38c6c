"""Pictures from DICOM files and DICOMweb, and annotations and reports back; patients under pseudonyms."""
