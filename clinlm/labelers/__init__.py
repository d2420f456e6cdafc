"""Who labels notes: people, ontologies, language models, and combinations of them."""
