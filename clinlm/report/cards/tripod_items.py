"""The 27 items of TRIPOD+AI with their 52 parts, in words of our own.

Source: Collins et al. 2024, "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
regression or machine learning methods", BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378 (CC BY 4.0). It replaced
TRIPOD 2015. What each item asks is shortened here; the statement's own words are what counts.
"""

from dataclasses import dataclass
from typing import Final, Literal, final


@final
@dataclass(frozen=True)
class TripodItem:
    """A part of an item.

    Attributes:
        number: such as 12c.
        applies: D to studies that develop a model, E to those that evaluate one, D;E to both.
        asks: what it asks for, shortened.
    """

    number: str
    applies: Literal["D", "E", "D;E"]
    topic: str
    asks: str


_TABLE: Final = """
1   | D;E | Title | study type, target population and outcome
2   | D;E | Abstract | a structured summary
3a  | D;E | Background | healthcare context, reason for the model, existing models
3b  | D;E | Background | target population, purpose in the care pathway, intended users
3c  | D;E | Background | known health inequalities between sociodemographic groups
4   | D;E | Objectives | objectives; development, validation or both
5a  | D;E | Data | sources of the development and evaluation data, reason, representativeness
5b  | D;E | Data | dates of the data
6a  | D;E | Participants | setting, number and location of centres
6b  | D;E | Participants | eligibility criteria
6c  | D;E | Participants | treatments received and how they were handled
7   | D;E | Data preparation | pre-processing and quality checks, and whether alike across groups
8a  | D;E | Outcome | outcome, time horizon, how and when assessed, alike across groups
8b  | D;E | Outcome | who assessed it, if that takes judgement
8c  | D;E | Outcome | blinding of its assessment
9a  | D   | Predictors | choice and pre-selection of predictors
9b  | D;E | Predictors | definition of all predictors, how and when measured
9c  | D;E | Predictors | who assessed them, if that takes judgement
10  | D;E | Sample size | how it was arrived at, and whether it suffices
11  | D;E | Missing data | how they were handled, reasons for omissions
12a | D   | Analytical methods | how the data were used and partitioned
12b | D   | Analytical methods | how predictors were handled
12c | D   | Analytical methods | type of model, all building steps, tuning, internal validation
12d | D;E | Analytical methods | heterogeneity across clusters
12e | D;E | Analytical methods | measures and plots of performance
12f | E   | Analytical methods | updating of the model
12g | E   | Analytical methods | how predictions were computed
13  | D;E | Class imbalance | methods used, and recalibration after them
14  | D;E | Fairness | approaches to fairness and their reason
15  | D   | Model output | output, and how thresholds were chosen
16  | D;E | Training versus evaluation | differences between the two sets of data
17  | D;E | Ethical approval | committee, consent or its waiver
18a | D;E | Funding | source and role of funders
18b | D;E | Conflicts of interest | of all authors
18c | D;E | Protocol | where it is, or that there was none
18d | D;E | Registration | register and number, or that there was none
18e | D;E | Data sharing | availability of the data
18f | D;E | Code sharing | availability of the code
19  | D;E | Patient and public involvement | what there was, or that there was none
20a | D;E | Participants (results) | flow, numbers with and without the outcome, follow-up
20b | D;E | Participants (results) | characteristics, overall and by demographic group
20c | E   | Participants (results) | comparison of the evaluation with the development data
21  | D;E | Model development | participants and outcome events in each analysis
22  | D   | Model specification | the whole model, and restrictions of its use
23a | D;E | Model performance | estimates with intervals, also in subgroups
23b | D;E | Model performance | heterogeneity across clusters
24  | E   | Model updating | results of updating
25  | D;E | Interpretation | overall interpretation, with fairness
26  | D;E | Limitations | limitations and their effects
27a | D   | Usability | poor or missing input data in use
27b | D   | Usability | what users have to do and to know
27c | D;E | Usability | next steps of research
"""


def _items() -> tuple[TripodItem, ...]:
    rows = [[cell.strip() for cell in line.split("|")] for line in _TABLE.strip().splitlines()]
    return tuple(TripodItem(number, applies, topic, asks) for number, applies, topic, asks in rows)  # type: ignore[arg-type]


TRIPOD_ITEMS: Final = _items()
"""Every part, in order."""
