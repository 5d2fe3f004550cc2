//! Floor 3: the outside world. Drives one attempt to its end and stores its result.
