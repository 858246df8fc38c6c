"""What a data set is: readers, manifest, patient groups, splits, the frame cache."""
