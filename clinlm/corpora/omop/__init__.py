"""OMOP Common Data Model: where its tables lie, and the notes in them."""
