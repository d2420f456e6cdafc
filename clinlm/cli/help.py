"""What `clinlm --help` prints, one screen, and `clinlm COMMAND --help` of the commands that import much to run."""

from clinlm.config.validation import CONF

HELP = """clinlm: compress clinical language models, and prove what it cost.

  clinlm                                 run pipeline c on generated notes
  clinlm pipeline=a prune.ratio=0.3      run another, with any setting changed
  clinlm -m pipeline=a,b,c seed=0,1      a sweep; equal stages are built once
  clinlm task=table task.root=notes.csv  your own notes (see clinlm check first)
  clinlm --cfg job KEY=VALUE ...         print all settings of a run

  clinlm check input=FILE                what a file of notes is, how to use it
  clinlm list [GROUP]                    experiments, sweeps, pipelines; options
  clinlm show KEY, clinlm store          a stored model; all that is stored
  clinlm predict artifact=A input=FILE   answer notes with a stored model
  clinlm label, clinlm documents         mark spans in notes; export a task
  clinlm report KIND run=|sweep=FOLDER   pages and cards of what was written
  clinlm stress run=FOLDER               misspelt, cut, flipped notes: the cost
  clinlm agent SWEEP                     run what a W&B sweep asks for

Groups, GROUP=OPTION: pipeline, task, model@teacher, model@student, adapter,
  distill, hidden_state_loss, ensemble, augmentation, prune, schedule,
  factorize, quantize, recover, engine, gate, device, external, labeler,
  long_notes, optimizer, trainer, logger, hydra/launcher, hydra/sweeper;
  +experiment= and +sweep= add one
Also: clinlm COMMAND --help, clinlm --version,
  eval "$(clinlm --completion bash|zsh|fish)"
"""

_COMMANDS = {
    "check": """\
clinlm check: look at a file or folder of notes, and say what clinlm would do with it. Nothing is trained.

  clinlm check input=notes.csv
  clinlm check input=notes.csv labels=died,readmitted group=mrn
  clinlm check input=/data/annotations

It names the columns and what they seem to be, the labels and their counts, patients, lengths against the limit of the
models, repeats and what is odd, and ends with the command to type. It prints names of columns and labels, no notes.

Settings, KEY=VALUE, with their defaults (??? has none and must be set):
""",
    "predict": """\
clinlm predict: answer a file of notes with an artifact or a deployment, window by window.

  clinlm predict artifact=outputs/store/student-1a2b3c input=notes.jsonl output=answers.jsonl
  clinlm predict artifact=... input=notes.csv.gz output=answers.parquet text=note id=note_id
  clinlm predict artifact=... input=notes.csv output=answers.csv shadow=outputs/store/teacher-4d5e6f
  zcat notes.jsonl.gz | clinlm predict artifact=... input=- output=- rejects=rejects.jsonl
  clinlm predict artifact=... input='notes/*.parquet' output=answers on=ray

The output has one answer per note, in the order of the input: id, line, and labels (decided at the saved thresholds)
with probabilities; of a tagger spans: start and end (in characters of the text, end exclusive), label, and probability
(of the least certain word). It contains no text of a note. Records that cannot be read go to the rejects with their
line and the reason; the run continues. A run that was stopped or killed continues with the same command; no line is
lost or written twice. With a shadow both models answer, and OUTPUT.shadow.json compares them: agreement, differences,
drift.
With coverage=0.9 notes also have the set of possible labels, undecided labels, and whether the model abstains.
A folder or pattern as input: every file gets answers of its own in the folder output, whole or not at all; on=ray and
on=spark let the workers of a Ray or a Spark answer them, here or on a cluster.

Settings, KEY=VALUE, with their defaults (??? has none and must be set):
""",
    "label": """\
clinlm label: mark the entities of a file of notes, or of a corpus, with any labeler, window by window.

  clinlm label labeler=ontology input=notes.csv output=labels.jsonl
  clinlm label labeler=llm input=notes.jsonl.gz output=labels.jsonl
  clinlm label labeler=majority labeler.use=[ontology,llm] corpus=brat root=FOLDER output=labels.jsonl

The output has one line of JSON per note, in the order of the input: id, line, spans (start, end, label; in characters
of the text, end exclusive) and failed, the reason why there is no answer, or null. Records that cannot be read go to
the rejects with their line and the reason; the run continues. A run that was stopped or killed continues with the same
command; no line is lost or written twice. Answers are stored by the hash of the text: no text is labeled twice.

Settings: labeler=NAME, labeler.*, corpus=NAME and corpus.* as for `clinlm`, and these, KEY=VALUE, with their defaults
(??? has none and must be set):
""",
    "stress": """\
clinlm stress: original, compressed model and TF-IDF of a run on changed test notes, side by side. Nothing is trained.

  clinlm stress run=outputs/runs/FOLDER
  clinlm stress run=outputs/runs/FOLDER stage=quantize documents=200 seed=1

The changes: misspellings, abbreviations, section loss, truncation, capitals, de-identification marks, which keep what
is true of the patient; and negation flips, of which only the change of a model's own decisions is told. By change:
quality, what is lost, how much more the compressed model loses, and how many decisions differ, with paired 95 %
intervals. Written to stress.md and stress.json in the run's folder, without a word of a note.

Settings, KEY=VALUE, with their defaults (??? has none and must be set):
""",
    "documents": """\
clinlm documents: write the documents of an outcome task in the shape of its published files.

  clinlm documents task=mortality task.root=/data/mimic3 output=mortality
  clinlm documents task=procedures_3digit task.root=/data/mimic3 task.corpus.lists_root=lists output=procedures
  clinlm documents task=length_of_stay task.corpus.definition=strict output=generated

Writes train.csv, val.csv and test.csv into a new folder, with the columns id (HADM_ID), text and hospital_expire_flag,
los_label or short_codes, all cells quoted, rows ordered by id (the published files are shuffled). For codes also writes
ALL_3_DIGIT_DIA_CODES.txt or ALL_3_DIGIT_PRO_CODES.txt. All documents and all codes of the definition are written;
task.labels, task.documents and task.training_documents are ignored. So the split equals that of the task where these
are null, as by default, or where task.corpus.lists_root names the published lists.

THE FILES CONTAIN NOTES. Those of MIMIC-III are under PhysioNet's data use agreement: keep them where the tables may be
kept, do not share them with anybody who has not signed it, and do not send them to any service. Only you can read them
(mode 0600). Nothing is overwritten.

Settings: output=FOLDER, and those of `clinlm` (task=..., task.*, store=...).
""",
}
"""Command -> what its help says before its settings."""


def command_help(name: str) -> str:
    """Return the help of a command with the settings of its yaml, if it has one; "" where the command has its own."""
    text, path = _COMMANDS.get(name, ""), CONF / f"{name}.yaml"
    if not text or not path.is_file():
        return text
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    if lines[first].startswith("defaults:"):
        first = lines.index("") + 1
    return text + "".join(f"  {line}\n" for line in lines[first:]).replace('"on"', "on")  # quoted, or YAML reads true
