//! Presenters for scanouts. Knows no virtio.
