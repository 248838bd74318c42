"""Parts that decoders of foreign logs share: lines, shapes, times, turns."""
