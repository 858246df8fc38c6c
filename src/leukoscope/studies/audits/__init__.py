"""What a bundle looks at: its heat maps, and the shortcuts that it may take."""
