"""How is the rest skipped? Sparse operators that know no network and no selection method."""
