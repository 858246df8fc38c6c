"""A table of answers in figures, with intervals over patient groups."""
