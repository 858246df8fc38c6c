"""Who may do what: accounts, roles, sessions, and the guards at the door."""
