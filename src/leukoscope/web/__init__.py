"""The pages of the workbench: plain scripts and styles, no build step, nothing from elsewhere."""
