//! Floor 1: judges evidence. From what an analyzer or a program said to what is known of every tool.
