"""User accounts: their credentials, and the rules for changing them."""
