"""Model cards, and reports for the ward: what records say in the forms that others ask for."""
