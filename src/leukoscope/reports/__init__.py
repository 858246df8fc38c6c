"""Pages and drawings of what was measured, and the words for figures."""
