"""Laws of what is read: a choice that nothing reads is refused with what would read it, and is not recorded."""

import pytest

from clinlm.config.errors import ConfigError
from clinlm.config.readers import readers, refuse_unread
from clinlm.config.settings import compose, plain
from clinlm.config.usage import left_out, references, unread, used_settings

A, C = "pipeline=a", "pipeline=c"


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ((A, "prune=wanda"), r"\(stages teacher, student\) reads prune=wanda; prune is read with pipeline=b, c, edge"),
        (
            (A, "recover.epochs=2", "steps=2"),
            "recover is read with pipeline=b, .*; steps is read with pipeline=edge",
        ),
        (("pipeline=baseline", "student.layers=2"), "student is read with pipeline=a, b, c, "),
        (("pipeline=baseline", "adapter@student=lora"), "reads adapter@student=lora; quantize=none leaves out stage q"),
        (("pipeline=baseline", "adapter=dora", "adapter@teacher=lora"), "reads adapter=dora; quantize=none leaves"),
        (
            (C, "schedule=cubic"),
            "pipeline=pruning_gradual or prune=semi_structured, threshold, unstructured, wanda: choose one",
        ),
        (
            (C, "ensemble=learned"),
            "ensemble is read with pipeline=ensemble, optimclm, optimclm_pruning: choose one; or remove it",
        ),
        ((C, "labeler=ontology"), "task=bc5cdr, entities, maccrobat"),
        ((C, "module@quantize_module=distill"), "quantize=none leaves out stage quantize: choose another"),
        ((C, "stages.quantize.seed=3"), "quantize=none leaves out stage quantize"),
        (("+epoch=3",), "unknown setting 'epoch'; did you mean epochs"),
    ],
    ids=" ".join,
)
def test_what_nothing_reads_is_refused_with_what_would(typed: tuple[str, ...], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        refuse_unread((typed, compose("config", typed)))


def test_what_is_read_is_not_refused() -> None:
    """A null is what the run has without it; what stages refer to at any remove is read; a deletion sets nothing."""
    typed = (C, "quantize=static", "quantize.observer=entropy", "prune=wanda", "schedule=cubic", "adapter=lora")
    more = ("trainer=cpu", "device=laptop", "training.early_stopping.patience=2", "~stages.recover_student", "seed=3")
    refuse_unread(((*typed, *more), compose("config", (*typed, *more))))
    none = ("pipeline=baseline", "augmentation=none", "student_learning_rate=null", "+experiment=mtsamples")
    refuse_unread((none, compose("config", none)))


def test_one_job_of_a_sweep_has_to_read_a_setting() -> None:
    jobs = [((name, "prune=wanda"), compose("config", (name, "prune=wanda"))) for name in (A, C)]
    refuse_unread(*jobs)
    with pytest.raises(ConfigError, match="no job of this sweep reads prune=wanda"):
        refuse_unread(jobs[0], (("pipeline=baseline",), compose("config", ["pipeline=baseline"])))


def test_the_recorded_configuration_is_what_was_used() -> None:
    """Its stages, task and report are the same; what only other pipelines read is not in it."""
    config = compose("config", [A, "prune=wanda", "quantize=none", "training.early_stopping.patience=2"])
    used = used_settings(config)
    assert {"prune", "recover", "steps", "lora", "quantize_module", "labeler"} & {*map(str, used)} == set()
    assert [*used.stages] == ["teacher", "student"] and "ensemble" not in used.stages.student
    assert left_out(config) == {"quantize": "quantize"} and not unread(used, [A, "epochs=3", "teacher.name=x"])
    for name in ("task", "report", "gate", "device", "logger"):
        assert (used[name] is None) == (config[name] is None) and (used[name] is None or plain(used[name]))
    for name in used.stages:
        assert plain(used.stages[name]) == {k: v for k, v in plain(config.stages[name]).items() if k != "ensemble"}
    assert "early_stopping" in plain(used.stages.teacher.callbacks)


def test_references_are_absolute_or_relative_and_no_resolvers() -> None:
    raw = {
        "a": {
            "b": "${c.d}-${now:%Y}",
            "e": ["${..b}"],
            "f": "${oc.select:g,${c}}",
            "h": "${oc.select:${.k}_x,${c.d}}",
            "k": "no",
        },
        "c": {"d": 1},
        "g": "${a.f}",
    }
    assert list(references(raw, "a")) == ["c.d", "a.b", "g", "c.d"]
    assert list(references({"a": "${b.c}", "b": "${d}", "d": {"c": 1}}, "a")) == ["b"], "the rest is found from there"


def test_readers_are_options_of_groups() -> None:
    assert readers("steps") == ("pipeline=edge, pruning_iterative",) and readers("no_such_setting") == ()
