"""Who says where the entities of a note are: people, ontologies, language models, and combinations of them."""
