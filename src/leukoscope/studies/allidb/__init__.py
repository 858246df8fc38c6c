"""How well white cells and blasts are found in the whole fields of ALL-IDB1."""
