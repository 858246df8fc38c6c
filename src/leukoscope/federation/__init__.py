"""Several laboratories: counts that each signs, pooled into figures; no picture leaves its home."""
