"""Who may come in: one module per table, and passwords."""
