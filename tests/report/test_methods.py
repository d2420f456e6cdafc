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


def test_a_line_tells_the_chosen_architecture() -> None:
    whole = {"target": "bytes", "cost_before": 9e6, "cost_goal": 3e6, "cost_predicted": 2.9e6, "cost_after": 2.95e6}
    whole |= {"hidden_before": 384, "hidden_after": 192, "embedding_rank": 64, "layers_before": 3, "layers_after": 2}
    layers = [{"layer": n, "heads_after": heads, "units_after": 8 * heads} for n, heads in enumerate((3, 0, 1))]
    (line,) = methods.lines({"prune": {"methods": {"prune": [whole, *layers]}}})
    assert "9e+06 bytes to 2.95e+06" in line and "2 of 3 layers with 3, 1 heads and 24, 8 FFN units" in line
    assert "384 to 192, embeddings of rank 64" in line


def test_every_row_is_in_the_report() -> None:
    text = methods.markdown(REPORTS)
    assert "### prune: prune" in text and "### teacher: keep_best" in text and "other" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 1 + 2 + 2
    assert lines[-1].split("|")[-2].strip() == "yes"


QUANTIZED = {"bytes_before": 4_000_000, "bytes_after": 1_000_000, "relative_error": 0.011, "spared": False}


def test_a_line_counts_what_became_integers_and_what_did_not() -> None:
    rows = [QUANTIZED | {"layer": name, "sensitivity": None} for name in ("body.a", "body.b")]
    assert methods.lines({"quantize": {"methods": {"quantize": rows}}}) == [
        "quantize: quantize made 8.0 MB of 2 matrices 2.0 MB of integers"
    ]
    assert methods.sensitivities(rows) == "" and "–" in methods.markdown({"q": {"methods": {"quantize": rows}}})


def test_sensitivities_are_a_table_the_worst_first() -> None:
    rises = {"body.a": -0.00001, "body.b": 0.02, "head": 0.0003}
    rows = [QUANTIZED | {"layer": name, "sensitivity": rise, "spared": rise > 0.01} for name, rise in rises.items()]
    line, *table = methods.lines({"quantize": {"methods": {"quantize": rows}}})
    assert line.endswith("8.0 MB of 2 matrices 2.0 MB of integers; 1 that suffer most stay in float")
    cut = [[cell.strip() for cell in one.strip("|").split("|")] for one in table]
    assert cut[0] == ["layer", "rise of validation loss", "relative error of weight", "kept in float"]
    assert [one[0] for one in cut[2:]] == ["body.b", "head", "body.a"]
    assert cut[2][1:] == ["+2.00e-02", "–", "yes"] and cut[4][1:] == ["-1.00e-05", "1.10e-02", "no"]
