"""Laws of the product: equal jobs are run once and named, others are kept in their order."""

import logging

import pytest

from clinlm.config.settings import compose
from clinlm.sweepers.product import Job, distinct_jobs


def test_jobs_that_read_none_of_what_differs_are_run_once(caplog: pytest.LogCaptureFixture) -> None:
    jobs: list[Job] = [
        (f"pipeline={pipeline}", "seed=3", f"prune={prune}")
        for pipeline in ("a", "b", "distillation")
        for prune in ("wanda", "magnitude")
    ]
    with caplog.at_level(logging.WARNING):
        found = distinct_jobs([(job, compose("config", job)) for job in jobs])
    assert found == [jobs[0], jobs[2], jobs[3]]
    same = "job pipeline=distillation prune=magnitude is left out, for it equals job pipeline=a prune=wanda"
    assert len(caplog.messages) == 3 and same in caplog.messages[-1]
    assert caplog.messages[0].endswith("nothing in it reads prune=magnitude")
