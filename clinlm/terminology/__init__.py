"""Terms from OBO, RxNorm, SNOMED RF2, tables and lists; one matcher."""
