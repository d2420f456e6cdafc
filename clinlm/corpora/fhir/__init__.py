"""HL7 FHIR: resources in NDJSON, and the notes in them."""
