"""Making a run again from its lineage, and holding the two against one another."""
