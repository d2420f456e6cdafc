"""Files of terms that an ontology labeler reads: obo, rxnconso, rf2, dictionary."""
