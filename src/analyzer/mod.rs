//! Floor 3: the embedded analyzer, a real WebSocket service that runs tools over source trees.
