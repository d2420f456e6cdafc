"""What `clinlm --help` prints: one screen."""

HELP = """\
clinlm: compress clinical language models, and prove what it cost.

  clinlm                                    run pipeline c, small, on generated notes
  clinlm pipeline=a prune.ratio=0.3         run another, with any setting changed
  clinlm -m pipeline=a,b,c seed=0,1         run a sweep; equal stages are built once
  clinlm task=table task.root=notes.csv     use your own notes (clinlm check first)
  clinlm --cfg job KEY=VALUE ...            print all settings of a run

  clinlm check input=FILE                   what a file of notes is, how to use it
  clinlm list [GROUP]                       experiments, sweeps, pipelines; options
  clinlm show KEY                           one stored model: lineage, numbers
  clinlm predict artifact=FOLDER input=FILE answer notes with a stored model
  clinlm label, documents                   mark spans in notes; export a task
  clinlm report KIND run=|sweep=FOLDER      make a page or card of what was written

Groups, GROUP=OPTION: pipeline, task, model@teacher, model@student, adapter,
  distill, hidden_state_loss, ensemble, augmentation, prune, schedule, factorize,
  quantize, recover, engine, gate, device, external, labeler, long_notes,
  optimizer, trainer, logger; +experiment, +sweep; hydra/launcher, hydra/sweeper
clinlm COMMAND --help; --version; eval "$(clinlm --completion bash|zsh|fish)"
Documents: docs/cli.md
"""
