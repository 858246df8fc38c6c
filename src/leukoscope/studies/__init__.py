"""Whole studies: runs finished to measured bundles, grids of runs, comparisons and what they cost."""
