"""Many pictures in parts: planned, answered by processes of an engine, and collected; a lost worker loses nothing."""
