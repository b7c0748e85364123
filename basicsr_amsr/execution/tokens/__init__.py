"""Window transformers with listed tokens: what their layers do to the active ones, and what they find at the others."""
