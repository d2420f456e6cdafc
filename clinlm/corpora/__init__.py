"""One reader per source of records: mimic3, mtsamples, table, synthetic."""
