//! Content-addressed blobs, layers, snapshots, image names and the metadata database of Berth.
