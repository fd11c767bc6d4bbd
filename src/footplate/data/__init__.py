"""Data: read, checked, split, scaled, and given in batches; numpy only, other readers are imported when used."""
