"""Cells asked again under another finish, and normal cells of other laboratories: what `robustness.py` is made of."""
