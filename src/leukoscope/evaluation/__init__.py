"""Measure a table of answers: figures with intervals over patient groups, and the pages that show them."""
