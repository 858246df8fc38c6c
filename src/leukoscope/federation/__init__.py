"""Several laboratories: counts and sums that each signs, pooled into figures or a head; no picture leaves its home."""
