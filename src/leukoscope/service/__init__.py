"""The workbench: a laboratory looks through answers, corrects them, signs, and teaches the model."""
