"""What a bundle answers when all but one cue is taken from the cells: does it look at the cell or at a shortcut?"""
