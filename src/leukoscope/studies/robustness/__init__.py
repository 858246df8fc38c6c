"""What changes of light, stain and focus do to the answers."""
