"""Nested selection: a sweep that chooses on validation and leaves test closed, and the choice at its end."""

import re
from collections.abc import Sequence

UNOPENED = " (test was not opened)"
"""Ends the title of a comparison on validation."""
CLOSED = "every number is of the validation documents: test was not opened (nested=true)"


def nested_notices(notices: Sequence[str]) -> list[str]:
    """Return the notices about a task without those about its test documents, and one that says so."""
    return [*(notice for notice in notices if not re.search(r"\btest\b", notice)), CLOSED]
