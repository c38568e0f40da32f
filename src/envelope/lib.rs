//! The shape of ciphertext: age v1 headers (the envelope) and STREAM payloads, apart and together.
