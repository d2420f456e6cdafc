"""Flattened spans are those of the definition: compared with every kept one, not with two neighbours."""

from hypothesis import given
from hypothesis import strategies as st

from clinlm.terminology.spans import Span, flatten

starts, lengths = st.integers(0, 12), st.integers(0, 6)
some = st.builds(
    lambda start, length, label: Span(start, start + length, label), starts, lengths, st.sampled_from("ab")
)


@given(st.lists(some, max_size=30))
def test_flattened_spans_are_those_that_overlap_no_longer_one(spans: list[Span]) -> None:
    kept: list[Span] = []
    for span in sorted(set(spans), key=lambda span: (span.start - span.end, span)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    assert flatten(spans) == sorted(kept)
