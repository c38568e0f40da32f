//! Values that can only exist well formed: names, paths, digests, actions, compartments, limits. No I/O, no secrets.
