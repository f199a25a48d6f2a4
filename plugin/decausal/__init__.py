"""Make chosen layers of a decoder-only language model bidirectional."""
