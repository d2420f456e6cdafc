"""The report as one HTML file that asks nothing of the network: question and answer, table, plots, evidence."""
