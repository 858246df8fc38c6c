"""Running a bundle: one picture, many pictures, the heat map over the cell and the gallery of a batch."""
