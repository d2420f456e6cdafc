"""The lines and tables of what methods did."""

from dataclasses import replace

from clinlm.report import methods
from clinlm.training.method_report import MethodReport, ReportRow
from clinlm.training.promises import BestEpoch, BitWidth, CostTarget, FfnWidth, LayerShape

ROW = FfnWidth(0, width_before=8, width_after=6, score_mean=1.5, score_std=0.25, skipped=False)
WHOLE = FfnWidth(1, width_before=8, width_after=8, score_mean=1.5, score_std=0.0001, skipped=True)


def stage(**rows: list[ReportRow]) -> methods.Reports:
    """The report of one stage, whose callbacks reported these rows."""
    return {"stage": {"methods": {name: MethodReport(tuple(own)).to_json() for name, own in rows.items()}}}


REPORTS = stage(keep_best=[BestEpoch(2, "val/macro_f1", 0.5)], prune=[ROW, WHOLE], other=[])


def test_a_line_counts_units_and_skipped_layers() -> None:
    (line,) = methods.method_lines(REPORTS)
    assert line.startswith("stage: prune cut 16 FFN units to 14 in 1 of 2 layers, 1 skipped")
    assert "0.0001" in line


def test_a_line_tells_the_chosen_architecture() -> None:
    whole = CostTarget("bytes", 9e6, 3e6, 2.9e6, 2.95e6, 384, 192, 64, 3, 2, 0.1)
    layers = [LayerShape(n, 4, heads, 32, 8 * heads, 1.0, 1.0) for n, heads in enumerate((3, 0, 1))]
    (line,) = methods.method_lines(stage(prune=[whole, *layers]))
    assert "9e+06 bytes to 2.95e+06" in line and "2 of 3 layers with 3, 1 heads and 24, 8 FFN units" in line
    assert "384 to 192, embeddings of rank 64" in line


def test_every_row_is_in_the_report() -> None:
    text = methods.methods_markdown(REPORTS)
    assert "### stage: prune" in text and "### stage: keep_best" in text and "other" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 1 + 2 + 2
    assert lines[-1].split("|")[-2].strip() == "yes"


def test_rows_of_a_type_that_is_not_imported_are_shown_as_they_were_written() -> None:
    rows = [{"linear": "body.a", "distinct": 4}]
    content = {"summary": "made 4 values", "tables": [{"type": "mylab.kmeans.Distinct", "rows": rows}]}
    reports = {"cluster": {"methods": {"cluster": content}}}
    assert methods.method_lines(reports) == ["cluster: cluster made 4 values"]
    assert "body.a" in methods.methods_markdown(reports)


def test_a_line_counts_heads_and_units_where_no_cost_was_aimed_at() -> None:
    rows = [LayerShape(n, 4, heads, 1000, 500 * heads, 1.0, 1.0) for n, heads in enumerate((3, 1))]
    assert methods.method_lines(stage(prune=[*rows])) == [
        "stage: prune cut 8 heads to 4 and 2,000 FFN units to 2,000 in 2 layers"
    ]


QUANTIZED = BitWidth("", 4_000_000, 1_000_000, relative_error=0.011, spared=False, sensitivity=None)


def test_a_line_counts_what_became_integers_and_what_did_not() -> None:
    rows = [replace(QUANTIZED, layer=name) for name in ("body.a", "body.b")]
    assert methods.method_lines(stage(quantize=[*rows])) == [
        "stage: quantize made 8.0 MB of 2 matrices 2.0 MB of integers"
    ]
    halves = [replace(row, half=True, bytes_after=1_900_000) for row in rows]
    assert methods.method_lines(stage(quantize=[*halves])) == [
        "stage: quantize made 8.0 MB of 2 matrices 3.8 MB of half precision"
    ]
    assert methods.sensitivities(rows) == "" and "–" in methods.methods_markdown(stage(quantize=[*rows]))


def test_sensitivities_are_a_table_the_worst_first() -> None:
    rises = {"body.a": -0.00001, "body.b": 0.02, "head": 0.0003}
    rows = [replace(QUANTIZED, layer=name, sensitivity=rise, spared=rise > 0.01) for name, rise in rises.items()]
    line, *table = methods.method_lines(stage(quantize=[*rows]))
    assert line.endswith("8.0 MB of 2 matrices 2.0 MB of integers; 1 that suffer most stay in float")
    cut = [[cell.strip() for cell in one.strip("|").split("|")] for one in table]
    assert cut[0] == ["layer", "rise of validation loss", "relative error of weight", "kept in float"]
    assert [one[0] for one in cut[2:]] == ["body.b", "head", "body.a"]
    assert cut[2][1:] == ["+2.00e-02", "–", "yes"] and cut[4][1:] == ["-1.00e-05", "1.10e-02", "no"]
