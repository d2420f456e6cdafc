"""What `clinlm --help` prints: one screen."""

HELP = """clinlm: compress clinical language models, and prove what it cost.

  clinlm                                 run pipeline c on generated notes
  clinlm pipeline=a prune.ratio=0.3      run another, with any setting changed
  clinlm -m pipeline=a,b,c seed=0,1      a sweep; equal stages are built once
  clinlm task=table task.root=notes.csv  your own notes (see clinlm check first)
  clinlm --cfg job KEY=VALUE ...         print all settings of a run

  clinlm check input=FILE                what a file of notes is, how to use it
  clinlm list [GROUP]                    experiments, sweeps, pipelines; options
  clinlm show KEY                        a stored model: lineage, numbers, files
  clinlm predict artifact=A input=FILE   answer notes with a stored model
  clinlm label, clinlm documents         mark spans in notes; export a task
  clinlm report KIND run=|sweep=FOLDER   pages and cards of what was written
  clinlm agent SWEEP                     run what a W&B sweep asks for

Groups, GROUP=OPTION: pipeline, task, model@teacher, model@student, adapter,
  distill, hidden_state_loss, ensemble, augmentation, prune, schedule,
  factorize, quantize, recover, engine, gate, device, external, labeler,
  long_notes, optimizer, trainer, logger, hydra/launcher, hydra/sweeper;
  +experiment= and +sweep= add one
Also: clinlm COMMAND --help, clinlm --version,
  eval "$(clinlm --completion bash|zsh|fish)"
"""
