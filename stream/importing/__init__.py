"""Read recorded messages: compressed, wrapped, paged, one or many a line."""
