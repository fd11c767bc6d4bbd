"""The page about a run: read from its directory, made of blocks, written as HTML, markdown or PDF."""
