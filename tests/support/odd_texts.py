"""Texts that are hard to part: what Unicode has and English has not."""

from hypothesis import strategies as st

ODD = (
    *"aZé\u0301\u0308ßﬁİ1٣½²Ⅷ_-'./%µ",
    *" \t\n\x0b\x1c\x85\u00a0\u2003\u3000",
    *"\u200b\u200c\u200d\u00ad\ufeff\u2060\u200f\u202e\ufe0f\U000e0067",
    *"中文㐀𠀀〇カひ한ไท้अकि",
    *"שלום\u05b8مرحبا\u064b",
    *"👩👧🏽🇩\u20e3\x00\x07\ud800\ufffd\U0010ffff",
)
"""Ligatures, other digits, numbers that are no digits, white space and none, marks, scripts, emoji, control, halves."""

texts = st.lists(
    st.one_of(st.sampled_from(ODD), st.sampled_from(["anti-IL-6", "naïve", "👩‍👩‍👧", "5mg", "1️⃣"]), st.characters()),
    max_size=30,
).map("".join)
