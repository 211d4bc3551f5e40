//! What the end-to-end cases share.
