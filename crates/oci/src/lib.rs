//! Value types of Berth: digests, references, manifests, runtime specs, container configurations.
