"""Charts: plain descriptions, one layout, and the canvases it draws on."""
