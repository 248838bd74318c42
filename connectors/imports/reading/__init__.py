"""Parts that the decoders of foreign logs share: lines, shapes, fields, turns, payloads, opinions."""
