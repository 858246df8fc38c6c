"""Many runs, resumable, and one table of what they reach and cost."""
