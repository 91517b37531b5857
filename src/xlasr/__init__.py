"""xlasr."""
