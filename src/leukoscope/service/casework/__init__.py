"""The way of a case: pictures come in, cells are answered, read, compared, signed, amended, handed on."""
