"""The lines and tables of what methods did."""

from clinlm.report import methods

ROW = {"layer": 0, "width_before": 8, "width_after": 6, "score_mean": 1.5, "score_std": 0.25, "skipped": False}
WHOLE = {**ROW, "layer": 1, "width_after": 8, "score_std": 0.0001, "skipped": True}
REPORTS = {
    "teacher": {"methods": {"keep_best": [{"epoch": 2}]}},
    "prune": {"methods": {"prune": [ROW, WHOLE], "other": []}},
}


def test_a_line_counts_units_and_skipped_layers() -> None:
    (line,) = methods.lines(REPORTS)
    assert line.startswith("prune: prune cut 16 FFN units to 14 in 1 of 2 layers, 1 skipped")
    assert "0.0001" in line


def test_every_row_is_in_the_report() -> None:
    text = methods.markdown(REPORTS)
    assert "### prune: prune" in text and "### teacher: keep_best" in text and "other" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 1 + 2 + 2
    assert lines[-1].split("|")[-2].strip() == "yes"
