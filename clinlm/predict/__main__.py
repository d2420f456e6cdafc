"""The command line: `clinlm-predict artifact=FOLDER input=FILE output=FILE`."""

from clinlm.predict.settings import YAML, Settings

_HELP = """clinlm-predict: answer a file of notes with an artifact or a deployment, a window at a time.

  clinlm-predict artifact=outputs/store/student-1a2b3c input=notes.jsonl output=answers.jsonl
  clinlm-predict artifact=... input=notes.csv.gz output=answers.parquet text=note id=note_id
  clinlm-predict artifact=... input=notes.csv output=answers.csv shadow=outputs/store/teacher-4d5e6f
  zcat notes.jsonl.gz | clinlm-predict artifact=... input=- output=- rejects=rejects.jsonl

One answer a note, in the order of the input: id, line, and labels (decided at the saved thresholds) with probabilities;
of a tagger spans: start and end (exclusive; characters, from 0), label, probability (of the least sure word). Never a
word of a note. What cannot be read goes to the rejects with its line and the reason, and stops nothing. A run that was
stopped or killed goes on with the same command, and no line is lost or written twice. With a shadow both models answer,
and OUTPUT.shadow.json compares them: agreement, differences, drift.

Settings, KEY=VALUE:
"""


def predict_command(arguments: list[str]) -> None:
    """Run `clinlm predict`, or print its help."""
    if not arguments or {"-h", "--help"} & set(arguments):
        settings = YAML.read_text(encoding="utf-8").splitlines()[1:]
        print(_HELP + "\n".join(f"  {line}" for line in settings))
        return
    _run(Settings.of(arguments))


def _run(settings: Settings) -> None:
    import transformers  # here and below, because `clinlm-predict --help` needs none of it

    from clinlm.predict.run import predict
    from clinlm.predict.summary import show

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    show(settings, predict(settings))
