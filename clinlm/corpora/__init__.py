"""One reader per source of records: files of tables and notes, generated ones, and symptoms in any of them."""
