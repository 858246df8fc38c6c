"""Where the workbench keeps its truth: tables that only grow, and a chain over everything that was done."""
