"""Every `+experiment=` of a source composes to the numbers of the source. Departures are lines of docs/sources.md."""

import math
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from test_config import composed, planned, unresolved

from clinlm.config.validation import CONF

GRIFFIN, STRATEGIES, LABELERS = "+experiment=smart_griffin", "+experiment=five_strategies", "+experiment=labelers"
OPTIMCLM, PKD, EDGE = "+experiment=optimclm", "+experiment=optimclm_pkd", "+experiment=clinical_edge"
TABLE = "+sweep=clinical_edge"

Row = tuple[str, str, Any, str]
EXPECTED: list[Row] = [
    # overrides, setting, value, where the source says so
    (GRIFFIN, "task.documents", 10_000, "2.1: 10,000 discharge summaries"),
    (GRIFFIN, "task.labels", 20, "2.1: the 20 most frequent labels"),
    (GRIFFIN, "teacher.name", "michiyasunaga/BioLinkBERT-large", "2.2"),
    (GRIFFIN, "student.name", "michiyasunaga/BioLinkBERT-base", "2.2"),
    (GRIFFIN, "distill.alpha", 0.3, "2.2"),
    (GRIFFIN, "distill.temperature", 1.0, "2.2"),
    (GRIFFIN, "prune._target_", "callbacks.prune.smart_griffin.SmartGriffin", "2.3"),
    (GRIFFIN, "prune.statistic", "weight", "2.3: L2 norm of the input weights"),
    (GRIFFIN, "prune.skip_std", 1e-3, "2.3: layer-skipping heuristic"),
    (GRIFFIN, "prune.ratio", 0.05, "Table II: 108 to 105 M parameters"),
    (GRIFFIN, "recover.epochs", 1, "2.3: one-epoch fine-tuning"),
    (GRIFFIN, "recover.learning_rate", 1e-5, "3"),
    (GRIFFIN, "batch_size", 1, "3"),
    (GRIFFIN, "student_batch_size", 1, "3"),
    (GRIFFIN, "accumulate", 1, "3"),
    (GRIFFIN, "optimizer.learning_rate", 1e-5, "3"),
    (GRIFFIN, "optimizer.head_learning_rate", None, "3: one learning rate"),
    (GRIFFIN, "patience", 3, "3: early stopping on validation"),
    (STRATEGIES, "teacher.name", "emilyalsentzer/Bio_ClinicalBERT", "III.A"),
    (STRATEGIES, "teacher.pooling", "cls", "III.A: the representation of [CLS]"),
    (STRATEGIES, "task._target_", "clinlm.tasks.multiclass.MultiClass", "III.A: softmax, cross-entropy"),
    (STRATEGIES, "task.corpus.corpus.fraction", 0.1, "IV.B: 10 % of NOTEEVENTS"),
    (STRATEGIES, "task.corpus.symptoms", 5, "IV.C: the five most frequent symptoms"),
    (STRATEGIES, "task.corpus.labels", "mention", "IV.C"),
    (STRATEGIES, "task.corpus.unit", None, "IV.B: sentence segmentation, the default of the class"),
    (STRATEGIES, "task.shares.2", 0.2, "IV.B: 80/20"),
    (STRATEGIES, "epochs", 5, "IV: five epochs"),
    (STRATEGIES, "student_epochs", 5, "IV: five epochs"),
    (STRATEGIES, "recover.epochs", 5, "IV: five epochs"),
    (STRATEGIES, "distill.alpha", 0.5, "III.B prints no number"),
    (STRATEGIES, "prune._target_", "callbacks.prune.threshold.Threshold", "III.D: |W| > tau"),
    (f"{STRATEGIES} pipeline=low_rank", "student_adapter.r", 32, "IV.C: rank of 32"),
    (
        f"{STRATEGIES} pipeline=quantization",
        "quantize._target_",
        "callbacks.quantize.dynamic.Dynamic",
        "III.E: PTQ, INT8",
    ),
    (LABELERS, "teacher.name", "dmis-lab/biobert-v1.1", "BioBERT"),
    (LABELERS, "task._target_", "clinlm.tasks.entities.Entities", "abstract: named entities"),
    (OPTIMCLM, "teacher.name", "bvanaken/CORe-clinical-outcome-biobert-v1", "notebook: teacher 1"),
    (OPTIMCLM, "members.1.start.name", "emilyalsentzer/Bio_Discharge_Summary_BERT", "notebook: teacher 2"),
    (OPTIMCLM, "student.name", "huawei-noah/TinyBERT_General_4L_312D", "README: TinyBERT"),
    (PKD, "student.layers", [0, 1, 2, 3, 4, 5], "notebook: bert-pkd-6"),
    (OPTIMCLM, "teacher.pooling", "cls", "notebook: BertForSequenceClassification"),
    (OPTIMCLM, "teacher.dropout", 0.2, "notebook"),
    (OPTIMCLM, "teacher.hidden_dropout", 0.2, "notebook: hidden_dropout_prob"),
    (OPTIMCLM, "teacher.attention_dropout", 0.2, "notebook: attention_probs_dropout_prob"),
    (OPTIMCLM, "student.hidden_dropout", 0.2, "notebook: hidden_dropout_prob"),
    (OPTIMCLM, "distill.temperature", 2.0, "notebook"),
    (OPTIMCLM, "distill.squared_temperature", True, "notebook: times T^2"),
    (OPTIMCLM, "distill.alpha", 0.5, "notebook: KL + CE, of one weight"),
    (OPTIMCLM, "hidden_state_loss", None, "notebook: logits alone"),
    (OPTIMCLM, "ensemble._target_", "clinlm.training.teachers.mean_logits.MeanLogits", "notebook: mean of the logits"),
    (OPTIMCLM, "prune._target_", "callbacks.prune.unstructured.Unstructured", "notebook: l1_unstructured"),
    (OPTIMCLM, "prune.ratio", 0.3, "notebook: 30 %"),
    (OPTIMCLM, "prune.scope", "layer", "notebook: module by module"),
    (OPTIMCLM, "recover", None, "notebook: nothing trains after pruning"),
    (OPTIMCLM, "quantize._target_", "callbacks.quantize.dynamic.Dynamic", "notebook: quantize_dynamic"),
    (OPTIMCLM, "batch_size", 16, "notebook"),
    (OPTIMCLM, "accumulate", 10, "notebook"),
    (OPTIMCLM, "optimizer.learning_rate", 1e-5, "notebook"),
    (OPTIMCLM, "optimizer.head_learning_rate", None, "notebook: one learning rate"),
    (OPTIMCLM, "optimizer.weight_decay", 0.01, "notebook"),
    (OPTIMCLM, "optimizer.decay", "linear", "notebook: get_linear_schedule_with_warmup"),
    (OPTIMCLM, "clip", None, "notebook: gradients are not clipped"),
    (OPTIMCLM, "task.max_tokens", 512, "notebook"),
    (OPTIMCLM, "monitor", "val/macro_auroc", "notebook"),
    (OPTIMCLM, "patience", 3, "notebook"),
    (OPTIMCLM, "training.early_stopping.min_delta", 1e-4, "notebook"),
    (EDGE, "distill.temperature", 4.0, "ClinicalDistillationTrainer"),
    (EDGE, "distill.alpha", 0.7, "ClinicalDistillationTrainer"),
    (EDGE, "distill.squared_temperature", True, "distillation_loss"),
    (EDGE, "student_epochs", 50, "train: num_epochs"),
    (EDGE, "student_learning_rate", 1e-3, "train: lr"),
    (EDGE, "prune._target_", "callbacks.prune.magnitude.Magnitude", "prune_l1_structured: L1 norm of whole units"),
    (EDGE, "prune.ratio", 0.3, "ClinicalModelPruner"),
    (EDGE, "steps", 5, "iterative_prune_with_finetuning"),
    (EDGE, "recover.epochs", 3, "iterative_prune_with_finetuning"),
    (EDGE, "recover.learning_rate", 1e-4, "iterative_prune_with_finetuning"),
    (EDGE, "quantize.epochs", 15, "quantization_aware_training"),
    (EDGE, "quantize.learning_rate", 1e-4, "quantization_aware_training"),
    (f"{TABLE} {EDGE} pipeline=quantization_qat", "quantize.epochs", 15, "quantization_aware_training"),
    (f"{TABLE} {EDGE} pipeline=pruning_iterative", "prune.target", "bytes:50%", "Benchmark Results: 98 to 49 MB"),
    (f"{TABLE} {EDGE} pipeline=distillation", "quantize", None, "Benchmark Results: distilled"),
]


@pytest.mark.parametrize("overrides", sorted({row[0] for row in EXPECTED}))
def test_an_experiment_has_the_numbers_of_its_source(overrides: str, subtests: pytest.Subtests) -> None:
    config = composed(*overrides.split())
    for _, setting, value, where in (row for row in EXPECTED if row[0] == overrides):
        with subtests.test(setting=setting, where=where):
            found = OmegaConf.select(config, setting.replace(".2", "[2]").replace(".1.", "[1]."), default=None)
            assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value


def test_the_schedules_of_optimclm_and_of_the_edge() -> None:
    """50 warm-up steps of about 4,000: 33,954 notes (mortality), 160 a step, 20 epochs. Observers freeze at 60 %."""
    steps = 33_954 / 160 * 20
    assert composed(OPTIMCLM).optimizer.warmup * steps == pytest.approx(50, abs=5)
    assert composed(EDGE).quantize.get("freeze_at", 0.6) == 0.6


@pytest.mark.parametrize("experiment", [OPTIMCLM, PKD])
def test_optimclm_is_two_teachers_a_student_zeros_and_integers(experiment: str) -> None:
    stages = ["teacher_1", "teacher_2", "student", "prune_student", "quantize"]
    assert [spec.name for spec in planned(experiment)] == stages


@pytest.mark.parametrize("chosen", [OPTIMCLM, "+sweep=optimclm"])
def test_optimclm_has_the_table_of_its_task(chosen: str) -> None:
    assert composed(chosen, "task=length_of_stay").report.published == "optimclm:length_of_stay"


@pytest.mark.parametrize(
    ("sweep", "jobs"),
    [("smart_griffin", 3), ("five_strategies", 15), ("labelers_five", 32), ("optimclm", 12), ("clinical_edge", 9)]
    + [("optimclm_ablation", 27)],
)
def test_a_sweep_has_a_job_for_every_row(sweep: str, jobs: int) -> None:
    """S2: people, and 31 subsets of five labelers. OptimCLM: four tasks; its ablation: 3 values of 3 numbers."""
    params = unresolved(f"+sweep={sweep}").hydra.sweeper.params
    overrides = OverridesParser.create().parse_overrides([f"{name}={value}" for name, value in params.items()])
    assert math.prod(len(list(own.sweep_string_iterator())) for own in overrides) == jobs


def test_every_source_has_a_sweep_and_a_table_that_one_command_prints() -> None:
    """`clinlm +sweep=NAME +experiment=NAME`, of the first four; labelers has a sweep for each number of labelers."""
    for table in sorted(path.stem for path in CONF.glob("published/*.yaml")):
        config = composed(f"+experiment={table}")
        assert config.report.published.partition(":")[0] == table and [*config.report.show] == ["published"]
        sweep = "labelers_five" if table == "labelers" else table
        assert composed(f"+sweep={sweep}").report.published.partition(":")[0] == table


def test_every_departure_has_a_line() -> None:
    """What an experiment does otherwise than its source says is named in the documents."""
    text = (CONF.parent / "docs/sources.md").read_text(encoding="utf-8")
    named = ("task.shares", "prune.threshold", "prune.skip_std", "optimizer.warmup", "bert-pkd-6", "distill.reduction")
    assert [name for name in (*named, "bytes:50%", "quantize.documents", "qat_epochs") if name not in text] == []
