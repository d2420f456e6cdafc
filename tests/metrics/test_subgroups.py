"""Attributes become subgroups that can be compared, whatever the corpus wrote."""

import polars as pl
import pytest

from clinlm.metrics.fairness import BANDS, UNKNOWN, subgroups


def of(**columns: list[str | None]) -> tuple[dict[str, list[str]], list[str]]:
    found, notices = subgroups(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).to_struct("attributes"))
    return {name: values.tolist() for name, values in found.items()}, notices


def test_ages_become_bands() -> None:
    ages = ["0", "17", "18", "44", "45.5", "64", "65", "79", "80", "90+", None, "unknown"]
    bands = [BANDS[place][1] for place in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)]
    assert of(age=ages * 3) == ({"age_band": [*bands, UNKNOWN, UNKNOWN] * 3}, [])


def test_an_age_that_is_no_number_stays() -> None:
    assert of(age=["young", "old", None])[0] == {"age": ["young", "old", UNKNOWN]}


def test_ethnicities_are_broad_and_not_knowing_is_no_ethnicity() -> None:
    written = ["WHITE - RUSSIAN", "BLACK/HAITIAN", "HISPANIC OR LATINO", "ASIAN", "UNABLE TO OBTAIN", "PORTUGUESE"]
    broad = ["WHITE", "BLACK", "HISPANIC", "ASIAN", UNKNOWN, "PORTUGUESE", UNKNOWN, UNKNOWN]
    assert of(ethnicity=[*written, "UNKNOWN/NOT SPECIFIED", None] * 5)[0] == {"ethnicity": broad * 5}


def test_what_is_no_group_of_people_is_left_out_and_said_without_its_values() -> None:
    single, few = [f"n{place}" for place in range(300)], [f"p{place // 6}" for place in range(300)]
    columns: dict[str, list[str | None]] = {"note": [*single], "patient": [*few], "sex": ["F", "M"] * 150}
    found, notices = of(**columns, none=[None] * 300, keywords=["gout"] * 300, unsaid=["unknown"] * 300)
    assert list(found) == ["sex"]
    assert notices == [
        "attribute note makes no subgroups: 300 values in 300 documents",
        "attribute patient makes no subgroups: 50 values in 300 documents",
    ]


def test_rare_values_beside_frequent_ones_are_subgroups() -> None:
    languages: list[str | None] = ["ENGL"] * 900 + [f"language {place}" for place in range(70)]
    assert len(set(of(language=languages)[0]["language"])) == 71


@pytest.mark.parametrize("values", (["F"] * 3, ["F", None, " f "]))
def test_every_document_has_a_subgroup(values: list[str | None]) -> None:
    assert len(of(sex=values)[0]["sex"]) == 3
