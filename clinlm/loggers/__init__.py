"""Where curves and tables go: none, csv, wandb. Numbers and names of settings only, never text of a note."""
