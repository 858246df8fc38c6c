"""Whole slides: a map of where cells can be judged, read there window by window, each cell once, and a page."""
