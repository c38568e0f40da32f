//! EXPOSED: TLS, HTTP, the Hugging Face API, payload encryption. Holds no standing secret.
